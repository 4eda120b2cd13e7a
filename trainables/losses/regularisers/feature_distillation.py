"""Feature distillation of D: its trunk goes on seeing real images as the pretrained trunk does (Mo et al. 2020)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.precision import in_float32
from trainables.losses.regularisers.base import Regulariser, WeightedOptions


class FeatureDistillationOptions(WeightedOptions):
    """Options of `FeatureDistillation`."""

    name: Literal["feature_distillation"] = "feature_distillation"


class FeatureDistillation(Regulariser):
    """E ||f/||f|| - f⁰/||f⁰||||² over real images, averaged over layers; f is a sample's whole feature map.

    Normalised by its length, a layer counts the same whatever the scale of its features: each term is 2 - 2 cos, in [0, 4].

    Raises:
        ValueError: D has no pretrained trunk.
    """

    Options = FeatureDistillationOptions
    needs_trunk = True

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        assert step.features is not None
        assert step.initial_features is not None
        features = step.features(step.real)
        if not features:
            raise ValueError("regulariser 'feature_distillation' needs a discriminator with a pretrained trunk")
        with torch.no_grad():
            wanted = step.initial_features(step.real)
        terms = [(_unit(x) - _unit(wanted[layer])).square().sum(1).mean() for layer, x in features.items()]
        return torch.stack(terms).mean()


def _unit(features: Tensor) -> Tensor:
    return F.normalize(in_float32(features).flatten(1), dim=1)
