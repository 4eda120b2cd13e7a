"""Filtering up and down against sums written out: zeros between the samples, a whole convolution, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainables.layers.fir import TAPS, conv_downsampled, conv_upsampled, downsample, smooth, upsample

KERNEL = torch.outer(torch.tensor(TAPS), torch.tensor(TAPS)).double() / 64


def zeros_between(x: Tensor) -> Tensor:
    y = torch.zeros(2 * x.shape[0], 2 * x.shape[1], dtype=x.dtype)
    y[::2, ::2] = x
    return y


def whole(x: Tensor, kernel: Tensor) -> Tensor:
    """The convolution of two maps, as large as it gets."""
    y = torch.zeros(x.shape[0] + kernel.shape[0] - 1, x.shape[1] + kernel.shape[1] - 1, dtype=x.dtype)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            y[i : i + x.shape[0], j : j + x.shape[1]] += kernel[i, j] * x
    return y


def picture(channels: int, height: int = 6, width: int = 8) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def each_channel(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([torch.stack([change(channel) for channel in sample]) for sample in x])


def test_upsampling() -> None:
    """A sample stands in the middle of the four pixels that it becomes: the filter's middle, 1.5, between its two nearest."""
    x = picture(3)
    wanted = each_channel(x, lambda c: 4 * whole(zeros_between(c), KERNEL)[1 : 1 + 12, 1 : 1 + 16])
    assert torch.allclose(upsample(x), wanted)


def test_downsampling() -> None:
    x = picture(3)
    wanted = each_channel(x, lambda c: whole(c, KERNEL)[2 : 2 + 6 : 2, 2 : 2 + 8 : 2])
    assert torch.allclose(downsample(x), wanted)


@pytest.mark.parametrize(("padding", "gain", "stride"), [(0, 1.0, 1), (1, 2.0, 1), (3, 0.5, 2)])
def test_smoothing(padding: int, gain: float, stride: int) -> None:
    x, kept = picture(2), slice(3 - padding, -(3 - padding) or None, stride)
    wanted = each_channel(x, lambda c: gain * whole(c, KERNEL)[kept, kept])
    assert torch.allclose(smooth(x, padding, gain, stride), wanted)


def weights(size: int) -> Tensor:
    return torch.randn(4, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", [1, 3])
def test_upsampling_and_a_true_convolution(size: int) -> None:
    x, weight = picture(3), weights(size)
    first = 1 + size // 2
    wanted = torch.zeros(2, 4, 12, 16, dtype=torch.float64)
    for n in range(2):
        for o in range(4):
            for i in range(3):
                made = whole(whole(zeros_between(x[n, i]), KERNEL * 4), weight[o, i])
                wanted[n, o] += made[first : first + 12, first : first + 16]
    assert torch.allclose(conv_upsampled(x, weight), wanted)


@pytest.mark.parametrize("size", [1, 3])
def test_filtering_and_every_second_position_of_a_convolution(size: int) -> None:
    """The networks' convolution does not flip its kernel."""
    x, weight, bias = picture(3), weights(size), torch.arange(4, dtype=torch.float64)
    first = 2 + size // 2
    wanted = bias[None, :, None, None].repeat(2, 1, 3, 4)
    for n in range(2):
        for o in range(4):
            for i in range(3):
                made = whole(whole(x[n, i], KERNEL), weight[o, i].flip(0, 1))
                wanted[n, o] += made[first : first + 6 : 2, first : first + 8 : 2]
    assert torch.allclose(conv_downsampled(x, weight, bias), wanted)


@pytest.mark.parametrize("change", [upsample, downsample])
def test_resampling_keeps_the_mean_and_what_is_symmetric(change: Callable[[Tensor], Tensor]) -> None:
    flat = torch.ones(1, 1, 8, 8)
    resampled = change(flat)
    assert torch.allclose(resampled[..., 2:-2, 2:-2], torch.ones(1))
    x = picture(2)
    assert torch.allclose(change(x.flip(2, 3)), change(x).flip(2, 3))
