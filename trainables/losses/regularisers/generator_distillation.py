"""Feature distillation of G: its layers go on making of a latent what those of the pretrained generator make of it.

After GAN Compression (Li et al. 2020, eq. 3), whose student is near its teacher in the features that both make of the same input.
Normalised as that of D: `trainables.losses.regularisers.feature_distillation`.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.generator_step import GeneratorStep
from trainables.losses.regularisers.base import Regulariser, WeightedOptions
from trainables.losses.regularisers.feature_distillation import direction_distance


class GeneratorDistillationOptions(WeightedOptions):
    """Options of `GeneratorDistillation`."""

    name: Literal["feature_distillation"] = "feature_distillation"
    layers: int | None = Field(None, ge=1)
    """How many of G's layers count, coarse to fine: the coarse ones hold what a picture shows, the fine ones what it looks like.
    None takes all."""


class GeneratorDistillation(Regulariser[GeneratorStep]):
    """E ||f/||f|| - f⁰/||f⁰||||² over the step's inputs, averaged over layers; f is a sample's whole feature map."""

    Options = GeneratorDistillationOptions
    needs_start = True

    def forward(self, step: GeneratorStep, collective: Collective) -> Tensor:
        assert step.features is not None
        assert step.initial_features is not None
        features = step.features(step.inputs)
        with torch.no_grad():
            wanted = step.initial_features(step.inputs)
        return direction_distance(features, wanted, list(features)[: self.options.layers])
