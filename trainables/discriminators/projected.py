"""Projected discriminator (Sauer et al. 2021): a frozen trunk, fixed random mixing of its features, trainable heads.

Mixing across channels (1x1) and across scales (3x3, top-down) is drawn once from the trial's seed and never trained. It keeps
the deep features from giving the discriminator an immediate win, at which the generator's gradients vanish.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.condition import ConditionEmbedding, condition_problems
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk, raise_if, size_problems
from trainables.discriminators.heads import Head
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
    """Width of a head, and of the condition's embedding."""
    input_px: int | None = Field(None, ge=8)
    """Side to which images are resized for the trunk (bilinear); None leaves them as they are."""
    conditional: bool = False
    """Whether the heads also see what G was given, through an embedding of its own, which is trained and not mixed."""


class ProjectedDiscriminator(Discriminator):
    """One [N, 1, h, w] map of logits for each of the trunk's last ``scales`` stages, shallow to deep.

    Raises:
        ValueError: the options do not fit the trunk, or there is no condition to see.
    """

    Options = ProjectedOptions

    def __init__(self, options: ProjectedOptions, trunk: Trunk, condition_channels: int = 0, resolution: int = 0) -> None:
        super().__init__()
        self.backbone = trunk(3)
        info = self.backbone.info
        raise_if(_problems(options, info, condition_channels))
        self.backbone.freeze(info.depth)
        self.input_px = options.input_px
        layers = info.layers[-options.scales :]
        self.layers = [layer.name for layer in layers]
        mix_channels = options.mixing != "none"
        self.mix_scales = options.mixing == "channel+scale"
        width, beside = options.mixed_channels, options.head_channels if options.conditional else 0
        self.channel_mixing = nn.ModuleList(
            _fixed(nn.Conv2d(layer.channels, width, 1, bias=False)) if mix_channels else nn.Identity() for layer in layers
        )
        self.scale_mixing = nn.ModuleList(
            _fixed(nn.Conv2d(width, width, 3, padding=1, bias=False)) if self.mix_scales else nn.Identity() for _ in layers
        )
        self.heads = nn.ModuleList(
            Head((width if mix_channels else layer.channels) + beside, options.head_channels) for layer in layers
        )
        self.head_count = len(self.heads)
        self.embedding = ConditionEmbedding(condition_channels, beside, len(layers)) if options.conditional else None

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        maps = self._mix(self.backbone(images, self.layers, self.input_px))
        if self.embedding is not None:
            maps = self.embedding(condition, maps)
        return [head(x) for head, x in zip(self.heads, maps, strict=True)]

    def _mix(self, features: dict[str, Tensor]) -> list[Tensor]:
        maps = [mix(features[layer]) for layer, mix in zip(self.layers, self.channel_mixing, strict=True)]
        if self.mix_scales:
            above = None
            for index in reversed(range(len(maps))):
                x = maps[index]
                if above is not None:
                    x = x + F.interpolate(above, size=x.shape[-2:], mode="bilinear", align_corners=False)
                above = maps[index] = self.scale_mixing[index](x)
        return maps

    @classmethod
    def unfit(cls, options: ProjectedOptions, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        return _problems(options, info, condition_channels) + size_problems(info, options.input_px, resolution)


def _problems(options: ProjectedOptions, info: Any, condition_channels: int) -> list[Problem]:
    problems = condition_problems(options.conditional, condition_channels)
    if options.scales > info.depth:
        problems.append(("scales", f"must be <= {info.depth}, the stages of {info.name}, but got {options.scales}"))
    return problems


def _fixed(convolution: nn.Conv2d) -> nn.Conv2d:
    """Kaiming-normal weights that are never trained."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return convolution.requires_grad_(False)
