"""Projected discriminator (Sauer et al. 2021): a frozen trunk, fixed random mixing of its features, trainable heads.

Mixing across channels (1x1) and across scales (3x3, top-down) is drawn once from the trial's seed and never trained. It keeps
the deep features from giving the discriminator an immediate win, at which the generator's gradients vanish.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.heads import Head
from trainables.discriminators.trunk import Trunk, resize
from trainables.registry import Options


class ProjectedOptions(Options):
    """Options of `ProjectedDiscriminator`."""

    name: Literal["projected"] = "projected"
    scales: int = Field(4, ge=1)
    """How many of the trunk's last stages are projected and get a head."""
    mixing: Literal["none", "channel", "channel+scale"] = "channel+scale"
    """Which random mixing the features go through."""
    mixed_channels: int = Field(64, ge=1)
    """Channels of the deepest mixed map; channel mixing gives every scale as many."""
    head_channels: int = Field(64, ge=1)
    """Width of a head."""
    input_px: int | None = Field(None, ge=8)
    """Side to which images are resized for the trunk (bilinear); None leaves them as they are."""


class ProjectedDiscriminator(nn.Module):
    """[N, 3, H, W] images in [-1, 1] → one [N, 1, h, w] map of logits for each scale, shallow to deep."""

    Options = ProjectedOptions

    def __init__(self, options: ProjectedOptions, trunk: Trunk, condition_channels: int = 0) -> None:
        super().__init__()
        backbone = trunk(3)
        layers = backbone.info.layers
        if options.scales > len(layers):
            raise ValueError(f"scales must be <= {len(layers)}, the stages of the trunk, but got {options.scales}")
        layers = layers[-options.scales :]
        self.backbone = backbone
        self.backbone.freeze(backbone.info.depth)
        self.input_px = options.input_px
        self.layers = [layer.name for layer in layers]
        mix_channels = options.mixing != "none"
        width = options.mixed_channels
        self.channel_mixing = nn.ModuleList(
            _fixed(nn.Conv2d(layer.channels, width, 1, bias=False)) if mix_channels else nn.Identity() for layer in layers
        )
        self.scale_mixing = nn.ModuleList(
            _fixed(nn.Conv2d(width, width, 3, padding=1, bias=False)) if options.mixing == "channel+scale" else nn.Identity()
            for _ in layers
        )
        self.mix_scales = options.mixing == "channel+scale"
        self.heads = nn.ModuleList(Head(width if mix_channels else layer.channels, options.head_channels) for layer in layers)

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        features = self.backbone(resize(images, self.input_px), self.layers)
        maps = [mix(features[layer]) for layer, mix in zip(self.layers, self.channel_mixing, strict=True)]
        if self.mix_scales:
            above = None
            for index in reversed(range(len(maps))):
                x = maps[index]
                if above is not None:
                    x = x + F.interpolate(above, size=x.shape[-2:], mode="bilinear", align_corners=False)
                above = maps[index] = self.scale_mixing[index](x)
        return [head(x) for head, x in zip(self.heads, maps, strict=True)]


def _fixed(convolution: nn.Conv2d) -> nn.Conv2d:
    """Kaiming-normal weights that are never trained."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return convolution.requires_grad_(False)
