"""Projected discriminator (Sauer et al. 2021): a frozen trunk, fixed random mixing of its features, trainable heads.

Mixing across channels (1x1) and across scales (3x3, top-down) is drawn once from the trial's seed and never trained. It keeps
the deep features from giving the discriminator an immediate win, at which the generator's gradients vanish.

The heads are small ones of this package's own, or as wide and deep as the paper's: 10.3 M parameters instead of 0.16 M. Other
than in the paper's code they have no BatchNorm, whose statistics would depend on which samples share a worker, and the mixed maps
keep the resolution of the trunk's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.condition import ConditionEmbedding, condition_problems
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk, raise_if, size_problems
from trainables.discriminators.heads import DownsamplingHead, Head
from trainables.layers.own_dtype import bilinear
from trainables.registry import Options


class ProjectedOptions(Options):
    """Options of `ProjectedDiscriminator`."""

    name: Literal["projected"] = "projected"
    scales: int = Field(4, ge=1)
    """How many of the trunk's last stages are projected and get a head."""
    mixing: Literal["none", "channel", "channel+scale"] = "channel+scale"
    """Which random mixing the features go through."""
    heads: Literal["compact", "paper"] = "compact"
    """"compact": three convolutions at every position. "paper": the deepest head halves its map once, each above once more, so
    that all give logits at one resolution (4x4 of 256 px); everything is twice as wide for each scale deeper, up to 8 times."""
    mixed_channels: int = Field(64, ge=1)
    """Channels of the mixed maps; with heads of the paper, of the shallowest."""
    head_channels: int = Field(64, ge=1)
    """Width of a head, and of the condition's embedding; with heads of the paper, of the first convolution of the shallowest."""
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
        self.mix_scales = options.mixing == "channel+scale"
        paper = options.heads == "paper"
        factors = [min(2**index, 8) if paper else 1 for index in range(len(layers))]
        widths = [layer.channels for layer in layers]
        self.channel_mixing = self.scale_mixing = nn.ModuleList(nn.Identity() for _ in layers)
        if options.mixing != "none":
            mixed = [options.mixed_channels * factor for factor in factors]
            self.channel_mixing, widths = _mixing(widths, mixed, 1), mixed
        if self.mix_scales:  # each map is added to the one above, and so takes its width
            above = [widths[0], *widths[:-1]]
            self.scale_mixing, widths = _mixing(widths, above, 3), above
        heads = [options.head_channels * factor for factor in factors]
        beside = options.head_channels if options.conditional else 0
        sides = self._sides(resolution) if paper else []
        self.heads = nn.ModuleList(
            DownsamplingHead(width + beside, heads[index:], sides[index]) if paper else Head(width + beside, heads[index])
            for index, width in enumerate(widths)
        )
        self.head_count = len(self.heads)
        self.embedding = ConditionEmbedding(condition_channels, beside, len(layers)) if options.conditional else None

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        maps = self._mix(self.backbone(images, self.layers, self.input_px))
        if self.embedding is not None:
            maps = self.embedding(condition, maps)
        return [head(x) for head, x in zip(self.heads, maps, strict=True)]

    @torch.no_grad()
    def _sides(self, resolution: int) -> list[int]:
        """Of the features of each scale, in pixels."""
        features = self.backbone(torch.zeros(1, 3, resolution, resolution), self.layers, self.input_px)
        return [int(features[layer].shape[-1]) for layer in self.layers]

    def _mix(self, features: dict[str, Tensor]) -> list[Tensor]:
        maps = [mix(features[layer]) for layer, mix in zip(self.layers, self.channel_mixing, strict=True)]
        if self.mix_scales:
            above = None
            for index in reversed(range(len(maps))):
                x = maps[index]
                if above is not None:
                    x = x + bilinear(above, (x.shape[-2], x.shape[-1]))
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


def _mixing(before: list[int], after: list[int], size: int) -> nn.ModuleList:
    """A fixed random convolution for each scale."""
    return nn.ModuleList(_fixed(nn.Conv2d(a, b, size, padding=size // 2, bias=False)) for a, b in zip(before, after, strict=True))


def _fixed(convolution: nn.Conv2d) -> nn.Conv2d:
    """Kaiming-normal weights that are never trained."""
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return convolution.requires_grad_(False)
