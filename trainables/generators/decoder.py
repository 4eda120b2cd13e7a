"""The decoder of image-to-image generators: from an encoder's features back to an image, level by level, with skip connections.

Resolution is gained by sub-pixel convolutions (Shi et al. 2016), whose kernels start equal for all sub-pixels (ICNR, Aitken et
al. 2017), so that at the start they enlarge by nearest neighbour, without a checkerboard. It ends in residual blocks at full
resolution, where details are made.

Nothing is normalised by what a picture holds, as in EDSR (Lim et al. 2017): brightness and contrast are what is restored, and a
pixel depends on its neighbourhood alone, so that a large picture can be made of tiles. The features of different pretrained
stages differ in scale by orders of magnitude: each is divided by a constant, its root mean square on one picture of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Level(NamedTuple):
    """One of the encoder's outputs: its channels, its stride relative to the image, and what its values are divided by."""

    channels: int
    stride: int
    scale: Tensor | float = 1.0


def width_at(channels: int, stride: int) -> int:
    """Width of a level: ``channels`` at full resolution, growing with the stride up to four times as many."""
    return channels * min(stride, 4)


class SubpixelDecoder(nn.Module):
    """Features of an encoder and its input [N, C, H, W] → [N, out_channels, H, W], which are zeros at the start.

    Args:
        levels: the encoder's outputs, shallow to deep; each stride is a multiple of the one before.
        in_channels: channels of the encoder's input, which is the last skip.
        out_channels: channels of what is made.
        channels: width at full resolution (`width_at`).
        blocks: residual blocks at full resolution.
    """

    def __init__(self, levels: Sequence[Level], in_channels: int, out_channels: int, channels: int, blocks: int = 0) -> None:
        super().__init__()
        deepest = levels[-1]
        before, stride = width_at(channels, deepest.stride), deepest.stride
        self.bottom = _Skip(deepest, before)
        self.skips, self.steps = nn.ModuleList(), nn.ModuleList()
        for level in reversed(levels[:-1]):
            after = width_at(channels, level.stride)
            self.skips.append(_Skip(level, after))
            self.steps.append(_Step(before, after, after, stride // level.stride))
            before, stride = after, level.stride
        # The input keeps its own scale: an image's brightness is what a residual of it must know.
        self.skips.append(nn.Identity())
        self.steps.append(_Step(before, in_channels, channels, stride))
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(blocks)))
        self.to_image = nn.Conv2d(channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.to_image.weight)
        nn.init.zeros_(self.to_image.bias)  # type: ignore[arg-type]

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return ["bottom", *(f"steps.{index}" for index in range(len(self.steps)))]

    def forward(self, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        x = self.bottom(features[-1])
        for step, skip, level in zip(self.steps, self.skips, [*reversed(features[:-1]), images], strict=True):
            x = step(x, skip(level))
        return self.to_image(self.blocks(x))


class _Step(nn.Module):
    """[N, before, h, w] and a skip [N, C, r·h, r·w] → [N, after, r·h, r·w]."""

    def __init__(self, before: int, skip: int, after: int, ratio: int) -> None:
        super().__init__()
        self.enlarge = SubpixelConv(before, after, ratio)
        self.conv1 = nn.Conv2d(after + skip, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = _of_size(self.enlarge(x), skip)
        y = F.leaky_relu(self.conv1(torch.cat([x, skip.to(x.dtype)], dim=1)), 0.2)  # the image is float32 beside half precision
        return F.leaky_relu(x + self.conv2(y), 0.2)


class _Block(nn.Module):
    """A residual block without normalisation (EDSR's), [N, C, H, W] → the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.2))


class _Skip(nn.Module):
    """A level's features [N, C, h, w], divided by their scale → [N, width, h, w]."""

    scale: Tensor

    def __init__(self, level: Level, width: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(level.scale, dtype=torch.get_default_dtype()).clone())
        self.convolution = nn.Conv2d(level.channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x / self.scale)


class SubpixelConv(nn.Module):
    """[N, before, h, w] → [N, after, r·h, r·w]: a 1×1 convolution to r² times the channels, which become sub-pixels."""

    def __init__(self, before: int, after: int, ratio: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.convolution = nn.Conv2d(before, after * ratio**2, 1)
        with torch.no_grad():  # ICNR: channel c's sub-pixels are outputs c·r² … c·r² + r² - 1 of the convolution
            first = self.convolution.weight[:: ratio**2]
            self.convolution.weight.copy_(first.repeat_interleave(ratio**2, dim=0))
            nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convolution(x), self.ratio)


def padded(images: Tensor, multiple: int, smallest: int = 1) -> Tensor:
    """[N, C, H, W], its right and bottom edges repeated until both sides are multiples of ``multiple`` and >= ``smallest``."""
    height, width = (-(-max(side, smallest) // multiple) * multiple for side in images.shape[-2:])
    return _edges_repeated(images, height, width)


def _of_size(x: Tensor, like: Tensor) -> Tensor:
    """Crops ``x`` or repeats its edges: networks without padding (SqueezeNet) make features a little less than a stride apart."""
    height, width = like.shape[-2:]
    return _edges_repeated(x[..., :height, :width], height, width)


def _edges_repeated(x: Tensor, height: int, width: int) -> Tensor:
    below, right = height - x.shape[-2], width - x.shape[-1]
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x
