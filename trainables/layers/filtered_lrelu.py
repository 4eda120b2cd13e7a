"""StyleGAN3's layer (Karras et al. 2021, section 3.2): a modulated convolution, and leaky ReLU at a higher sampling rate.

A pointwise nonlinearity makes frequencies that its grid cannot hold. So the signal is upsampled before it and low-pass filtered
after it, down to what the next layer's grid holds. In pure torch: each filter is one convolution of each channel by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.layers.adapters import Adaptable
from trainables.layers.equalized import EqualizedLinear
from trainables.layers.lowpass import lowpass, radial_lowpass
from trainables.layers.modulated import ToRgb, demodulation


@dataclass(frozen=True)
class Signal:
    """What a layer's feature maps can hold; one unit of length is the side of the picture."""

    size: int
    """Side of the maps in samples, their margin around the picture included."""
    rate: int
    """Samples per unit."""
    cutoff: float
    """Frequencies up to this pass, in cycles per unit."""
    half_width: float
    """Half of the transition band of filters around the cutoff, cycles per unit."""


def upsampled(x: Tensor, taps: Tensor, factor: int, size: int) -> Tensor:
    """[N, C, h, w] with ``factor`` - 1 zeros between samples, filtered, of which the middle: [N, C, size, size].

    Args:
        taps: [t], for each dimension; the gain is theirs times ``factor``.
    """
    channels = x.shape[1]
    kernel = (torch.outer(taps, taps) * factor**2).to(x.dtype).expand(channels, 1, -1, -1)
    surplus = (x.shape[-1] - 1) * factor + len(taps) - size
    assert surplus >= 0
    assert surplus % 2 == 0
    return F.conv_transpose2d(x, kernel, stride=factor, padding=surplus // 2, groups=channels)


def downsampled(x: Tensor, taps: Tensor, factor: int) -> Tensor:
    """[N, C, h, w] filtered, of which every ``factor``-th sample; ``taps``: [t] for each dimension, or [t, t]."""
    kernel = torch.outer(taps, taps) if taps.ndim == 1 else taps
    return F.conv2d(x, kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1), stride=factor, groups=x.shape[1])


class FilteredConv(Adaptable):
    """[N, in, before.size, before.size] and styles [N, w_dim] → [N, out, after.size, after.size].

    ``magnitude_ema``, the mean square of the inputs by which they are normalised, stays as it was loaded: training is
    fine-tuning here, and an average over a worker's samples would make a trial depend on the number of workers.

    Args:
        kernel: side of the convolution's, odd.
        taps: of each filter, times the factor by which it resamples.
        oversampling: by how much the rate of the nonlinearity exceeds that of the finer of input and output; even.
        radial: whether the filter after the nonlinearity has no direction.
        clamp: activations stay within ± this; None for no limit.
    """

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        before: Signal,
        after: Signal,
        *,
        kernel: int,
        taps: int,
        oversampling: int,
        radial: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp, self.size = clamp, after.size
        rate = max(before.rate, after.rate) * oversampling
        self.up, self.down = rate // before.rate, rate // after.rate
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.register_buffer("up_filter", _filter(taps, self.up, before, rate, radial=False))
        self.register_buffer("down_filter", _filter(taps, self.down, after, rate, radial=radial))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.adapted(self.affine(w))
        # Leaky ReLU is homogeneous, upsampling linear: the gain can go in before both, where the tensors are small.
        scale = demodulation(weight, style) * (self.magnitude_ema.rsqrt() * math.sqrt(2))
        bias = (self.bias * math.sqrt(2))[:, None, None]
        x = F.conv2d(x * style.to(x.dtype)[:, :, None, None], weight, padding=weight.shape[-1] - 1)
        x = torch.addcmul(bias.to(x.dtype), x, scale.to(x.dtype)[:, :, None, None])
        x = upsampled(x, self.up_filter, self.up, (self.size - 1) * self.down + len(self.down_filter))
        x = F.leaky_relu(x, 0.2)
        if self.clamp is not None:
            x = x.clamp(-self.clamp, self.clamp)
        return downsampled(x, self.down_filter, self.down)


class NormalizedToRgb(ToRgb):
    """`ToRgb` of inputs divided by the root of their mean square, ``magnitude_ema``; see `FilteredConv`."""

    magnitude_ema: Tensor

    def __init__(self, in_channels: int, channels: int, w_dim: int, *, clamp: float | None) -> None:
        super().__init__(in_channels, channels, w_dim, clamp=clamp)
        self.register_buffer("magnitude_ema", torch.ones(()))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return super().forward(x * self.magnitude_ema.rsqrt().to(x.dtype), w)


def _filter(taps: int, factor: int, signal: Signal, rate: int, *, radial: bool) -> Tensor:
    design = radial_lowpass if radial else lowpass
    return design(taps * factor, signal.cutoff, 2 * signal.half_width, rate)
