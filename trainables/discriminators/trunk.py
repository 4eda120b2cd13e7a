"""A discriminator on a pretrained trunk, fine-tuned beyond a frozen depth, with heads at several scales.

Freezing the first layers of D is FreezeD (Mo et al. 2020); here the trunk is a classifier's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.heads import Head
from trainables.registry import Options

Trunk = Callable[[int], Any]  # a fresh unfrozen backbone that takes images of so many channels


class TrunkOptions(Options):
    """Options of `TrunkDiscriminator`."""

    name: Literal["trunk"] = "trunk"
    frozen_depth: int = Field(3, ge=0)
    """Stages of the trunk that keep their pretrained parameters; 0 trains all, the backbone's depth freezes all."""
    scales: int = Field(3, ge=1)
    """How many of the trunk's last stages get a head."""
    head_channels: int = Field(64, ge=1)
    """Width of a head."""
    input_px: int | None = Field(None, ge=8)
    """Side to which images are resized for the trunk (bilinear); None leaves them as they are."""


class TrunkDiscriminator(nn.Module):
    """[N, 3, H, W] images in [-1, 1] → one [N, 1, h, w] map of logits for each head, shallow to deep.

    Args:
        trunk: gives a fresh unfrozen `trainables.backbones.Backbone` for so many input channels.
    """

    Options = TrunkOptions

    def __init__(self, options: TrunkOptions, trunk: Trunk, condition_channels: int = 0) -> None:
        super().__init__()
        backbone = trunk(3)
        layers = backbone.info.layers
        if not options.frozen_depth <= len(layers):
            raise ValueError(f"frozen_depth must be <= {len(layers)}, but got {options.frozen_depth}")
        if options.scales > len(layers):
            raise ValueError(f"scales must be <= {len(layers)}, the stages of the trunk, but got {options.scales}")
        self.backbone = backbone
        self.backbone.freeze(options.frozen_depth)
        self.input_px = options.input_px
        self.layers = [layer.name for layer in layers[-options.scales :]]
        self.heads = nn.ModuleList(Head(layer.channels, options.head_channels) for layer in layers[-options.scales :])

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        features = self.backbone(resize(images, self.input_px), self.layers)
        return [head(features[layer]) for layer, head in zip(self.layers, self.heads, strict=True)]


def resize(images: Tensor, side: int | None) -> Tensor:
    """Bilinear resize of [N, C, H, W] to [N, C, side, side]; None leaves the images as they are."""
    if side is None or images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
