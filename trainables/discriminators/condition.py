"""How a discriminator sees the picture that G was given (pix2pix, Isola et al. 2017: D judges the pair).

PatchGAN joins the pair at its first convolution. A pretrained trunk knows no such pairs, and its first stages, frozen, could
not learn to: so beside a trunk the condition gets a small trained network of its own, whose maps join the trunk's features
before the heads. The trunk's features stay exactly the pretrained ones at any frozen depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from trainables.layers.exact import adaptive_avg_pool2d


class ConditionEmbedding(nn.Module):
    """[N, C, H, W] condition and one feature map for each scale → the same maps with ``channels`` more, shallow to deep."""

    def __init__(self, condition_channels: int, channels: int, scales: int) -> None:
        super().__init__()
        self.first = spectral_norm(nn.Conv2d(condition_channels, channels, 3, padding=1))
        self.steps = nn.ModuleList(spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(scales))

    def forward(self, condition: Tensor | None, maps: Sequence[Tensor]) -> list[Tensor]:
        x = F.leaky_relu(self.first(required(condition)), 0.2)
        joined = []
        for step, features in zip(self.steps, maps, strict=True):
            x = F.leaky_relu(step(adaptive_avg_pool2d(x, (features.shape[-2], features.shape[-1]))), 0.2)
            joined.append(torch.cat([features, x], dim=1))
        return joined


def required(condition: Tensor | None) -> Tensor:
    """The condition.

    Raises:
        ValueError: there is none.
    """
    if condition is None:
        raise ValueError("a conditional discriminator needs the condition of each image, but got None")
    return condition


def condition_problems(conditional: bool, condition_channels: int) -> list[tuple[str, str]]:
    """What is wrong with ``conditional``, for `Discriminator.unfit`."""
    if conditional and not condition_channels:
        return [("conditional", "must be false where G makes images from noise: there is no condition to see, but got true")]
    return []
