"""PatchGAN (Isola et al. 2017, pix2pix, section 3.2.2 and appendix 6.1.2): a plain convolutional D of small receptive field.

As there: 4x4 convolutions, ``layers`` of them with stride 2, widths doubling up to 8 times, then two with stride 1; each logit
sees a patch (70 px for 3 layers). Other than there: spectral normalisation instead of BatchNorm, whose statistics would depend
on which samples share a worker.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from trainables.discriminators.condition import condition_problems, required
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk, raise_if
from trainables.registry import Options


class PatchOptions(Options):
    """Options of `PatchDiscriminator`."""

    name: Literal["patch"] = "patch"
    channels: int = Field(64, ge=1)
    """Width of the first convolution."""
    layers: int = Field(3, ge=1)
    """Convolutions with stride 2; each doubles the patch: 16 px for 1, 34 for 2, 70 for 3."""
    conditional: bool = False
    """Whether D judges the pair of image and condition, joined at its first convolution, or the image alone."""


class PatchDiscriminator(Discriminator):
    """One [N, 1, h, w] map of logits, h = H / 2^layers - 2. It has no trunk and never asks for one.

    Raises:
        ValueError: the images are too small, or there is no condition to see.
    """

    Options = PatchOptions
    trunkless = True

    def __init__(self, options: PatchOptions, trunk: Trunk, condition_channels: int = 0, resolution: int = 0) -> None:
        super().__init__()
        raise_if(condition_problems(options.conditional, condition_channels))
        self.conditional = options.conditional
        self.smallest_side = _smallest_side(options)
        widths = [options.channels * min(2**index, 8) for index in range(options.layers + 1)]
        layers: list[nn.Module] = []
        channels = 3 + (condition_channels if options.conditional else 0)
        for index, width in enumerate(widths):
            stride = 2 if index < options.layers else 1
            layers += [spectral_norm(nn.Conv2d(channels, width, 4, stride, padding=1)), nn.LeakyReLU(0.2)]
            channels = width
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 4, padding=1)))

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        if min(images.shape[-2:]) < self.smallest_side:
            raise ValueError(f"images must be at least {self.smallest_side} px a side, but are {tuple(images.shape[-2:])}")
        return [self.layers(torch.cat([images, required(condition)], dim=1) if self.conditional else images)]

    @classmethod
    def unfit(cls, options: PatchOptions, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        problems = condition_problems(options.conditional, condition_channels)
        if resolution < (side := _smallest_side(options)):
            problems.append(("layers", f"of {options.layers} need images of at least {side} px, but resolution is {resolution}"))
        return problems


def _smallest_side(options: PatchOptions) -> int:
    """The two convolutions with stride 1 take a pixel each off the map, of which one must be left."""
    return 3 * 2**options.layers
