"""A discriminator on a pretrained trunk, fine-tuned beyond a frozen depth, with heads at several scales.

Freezing the first layers of D is FreezeD (Mo et al. 2020); here the trunk is a classifier's.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.condition import ConditionEmbedding, condition_problems
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk, raise_if, size_problems
from trainables.discriminators.heads import Head
from trainables.registry import Options


class TrunkOptions(Options):
    """Options of `TrunkDiscriminator`."""

    name: Literal["trunk"] = "trunk"
    frozen_depth: int = Field(3, ge=0)
    """Stages of the trunk that keep their pretrained parameters; 0 trains all, the backbone's depth freezes all."""
    scales: int = Field(3, ge=1)
    """How many of the trunk's last stages get a head."""
    head_channels: int = Field(64, ge=1)
    """Width of a head, and of the condition's embedding."""
    input_px: int | None = Field(None, ge=8)
    """Side to which images are resized for the trunk (bilinear); None leaves them as they are."""
    conditional: bool = False
    """Whether the heads also see what G was given, through an embedding of its own."""


class TrunkDiscriminator(Discriminator):
    """One [N, 1, h, w] map of logits for each of the trunk's last ``scales`` stages, shallow to deep.

    Raises:
        ValueError: the options do not fit the trunk, or there is no condition to see.
    """

    Options = TrunkOptions

    def __init__(self, options: TrunkOptions, trunk: Trunk, condition_channels: int = 0, resolution: int = 0) -> None:
        super().__init__()
        self.backbone = trunk(3)
        raise_if(_problems(options, self.backbone.info, condition_channels))
        self.backbone.freeze(options.frozen_depth)
        self.input_px = options.input_px
        layers = self.backbone.info.layers[-options.scales :]
        self.layers = [layer.name for layer in layers]
        width = options.head_channels
        beside = width if options.conditional else 0
        self.heads = nn.ModuleList(Head(layer.channels + beside, width) for layer in layers)
        self.head_count = len(self.heads)
        self.embedding = ConditionEmbedding(condition_channels, width, len(layers)) if options.conditional else None

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        maps = list(self.features(images).values())
        if self.embedding is not None:
            maps = self.embedding(condition, maps)
        return [head(x) for head, x in zip(self.heads, maps, strict=True)]

    def features(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        return self.backbone(images, self.layers, self.input_px)

    @classmethod
    def trains_features(cls, options: TrunkOptions, info: Any, resolution: int) -> bool:
        return bool(options.frozen_depth < info.depth)

    @classmethod
    def unfit(cls, options: TrunkOptions, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        return _problems(options, info, condition_channels) + size_problems(info, options.input_px, resolution)


def _problems(options: TrunkOptions, info: Any, condition_channels: int) -> list[Problem]:
    return [
        (key, f"must be <= {info.depth}, the stages of {info.name}, but got {value}")
        for key, value in (("frozen_depth", options.frozen_depth), ("scales", options.scales))
        if value > info.depth
    ] + condition_problems(options.conditional, condition_channels)
