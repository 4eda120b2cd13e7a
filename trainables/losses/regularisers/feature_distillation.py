"""Feature distillation of D: it goes on seeing real images as it did when it was pretrained (Mo et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class FeatureDistillation(Regulariser[DiscriminatorStep]):
    """E ||f/||f|| - f⁰/||f⁰||||² over real images, averaged over layers; f is a sample's whole feature map.

    Normalised by its length, a layer counts the same whatever the scale of its features: each term is 2 - 2 cos, in [0, 4].

    Raises:
        ValueError: D has no pretrained trunk.
    """

    Options = FeatureDistillationOptions
    needs_start = needs_trunk = True

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        assert step.features is not None
        assert step.initial_features is not None
        features = step.features(step.real)
        if not features:
            raise ValueError("regulariser 'feature_distillation' needs a discriminator with a pretrained trunk")
        with torch.no_grad():
            wanted = step.initial_features(step.real)
        return direction_distance(features, wanted, list(features))


def direction_distance(features: Mapping[str, Tensor], wanted: Mapping[str, Tensor], layers: Sequence[str]) -> Tensor:
    """The mean over samples and ``layers`` of the squared distance of directions, 0..4; features [N, ...] by layer."""
    return torch.stack([(_unit(features[x]) - _unit(wanted[x])).square().sum(1).mean() for x in layers]).mean()


def _unit(features: Tensor) -> Tensor:
    return F.normalize(in_float32(features).flatten(1), dim=1)
