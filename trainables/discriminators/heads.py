"""The trainable heads that read a trunk's features and say real or fake, at every position."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_KERNEL = 4  # of `DownsamplingHead`


class Head(nn.Module):
    """[N, C, h, w] features → [N, 1, h, w] logits. Spectrally normalised (Miyato et al. 2018), no batch statistics."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(in_channels, channels, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(channels, 1, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


class DownsamplingHead(nn.Module):
    """[N, C, side, side] features → [N, 1, h, w] logits, the side halved (rounded up) once for each of the ``widths``.

    A 4x4 convolution of stride 2 for each width, then one of stride 1. Kernels are no larger than the map they read: what they
    had beyond it would see nothing, and yet count in the spectral norm. Spectrally normalised, no batch statistics.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([in_channels, *widths]):
            layers += [*_convolution(before, after, side, stride=2), nn.LeakyReLU(0.2)]
            side = (side + 1) // 2 if side >= _KERNEL else 1
        self.layers = nn.Sequential(*layers, *_convolution(widths[-1], 1, side, stride=1))

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)


def _convolution(before: int, after: int, side: int, stride: int) -> list[nn.Module]:
    """To side / ``stride``, rounded up; a map smaller than the usual kernel becomes one pixel."""
    if side < _KERNEL:
        return [spectral_norm(nn.Conv2d(before, after, side))]
    more = 2 if stride == 1 or side % 2 else 1
    return [nn.ZeroPad2d((1, more, 1, more)), spectral_norm(nn.Conv2d(before, after, _KERNEL, stride))]
