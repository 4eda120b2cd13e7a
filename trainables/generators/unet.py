"""A plain U-Net (Ronneberger et al. 2015) without anything pretrained: what a pretrained encoder must beat.

Its decoder is that of `trainables.generators.encoder_decoder`, so a comparison of the two shows what the encoder brings.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from trainables.generators.decoder import Level, SubpixelDecoder, padded, width_at
from trainables.generators.frame import Frame, Trunk, image_problem
from trainables.registry import Options


class UnetOptions(Options):
    """Options of `UnetGenerator`."""

    name: Literal["unet"] = "unet"
    channels: int = Field(32, ge=1)
    """Width at full resolution; twice as wide at half of it, four times from a quarter of it on."""
    depth: int = Field(3, ge=1)
    """How often the encoder halves the resolution."""
    blocks: int = Field(2, ge=0)
    """Residual blocks at full resolution, two 3×3 convolutions each."""


class UnetGenerator(nn.Module):
    """[N, in_channels, H, W] images → [N, out_channels, H, W], unbounded and zero at the start; any H and W. It has no trunk."""

    Options = UnetOptions
    z_dim = 0

    def __init__(self, options: UnetOptions, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        if problem := self.unfit(options, frame, None):
            raise ValueError(problem)
        self.stride = 2**options.depth
        levels = [Level(width_at(options.channels, stride), stride) for stride in (2**i for i in range(1, options.depth + 1))]
        widths = [frame.in_channels, *(level.channels for level in levels)]
        self.encoder = nn.ModuleList(_halving(before, after) for before, after in pairwise(widths))
        self.decoder = SubpixelDecoder(levels, frame.in_channels, frame.out_channels, options.channels, options.blocks)

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return [f"decoder.{name}" for name in self.decoder.feature_layers]

    @staticmethod
    def unfit(options: UnetOptions, frame: Frame, info: Any) -> str | None:
        """What does not fit ``frame``; None when all does. ``info``, the trunk's, does not matter."""
        if problem := image_problem("unet", frame):
            return problem
        if (smallest := 2**options.depth) > frame.resolution:
            return f"depth {options.depth} of unet needs images of at least {smallest} px a side, but got {frame.resolution}"
        return None

    def forward(self, images: Tensor) -> Tensor:
        assert images.ndim == 4
        height, width = images.shape[-2:]
        x = images = padded(images, self.stride)
        features = [x := stage(x) for stage in self.encoder]
        return self.decoder(images, features)[..., :height, :width]


def _halving(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(after, after, 3, padding=1),
        nn.LeakyReLU(0.2),
    )
