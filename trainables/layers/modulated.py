"""Modulated convolution (Karras et al. 2020, StyleGAN2, section 2.2) in the form that scales activations, not kernels.

Scaling the input channels of a sample's kernel by its style is scaling the channels of its input; demodulation scales the output
channels. So one ordinary convolution serves the whole batch, where the form with a kernel for each sample needs a grouped one,
which is slow (pytorch#70954). In exact arithmetic both are the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.layers.adapters import Adaptable
from trainables.layers.equalized import EqualizedLinear
from trainables.layers.fir import conv_upsampled
from trainables.layers.keyed_noise import keyed_normal


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What brings outputs of a kernel [out, in, k, k] modulated by [N, in] to unit variance: [N, out]."""
    return torch.rsqrt(style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8)


class ModulatedConv(Adaptable):
    """[N, in, h, w] and styles [N, w_dim] → [N, out, h, w], or twice as large: modulated 3x3 convolution, noise, leaky ReLU.

    Args:
        resolution: side of the output in pixels.
        up: whether the output is twice as large as the input.
        clamp: activations stay within ± this; None for no limit.
    """

    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, *, resolution: int, up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.clamp = resolution, up, clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, keys: Tensor | None, purpose: int, gain: float = 1.0) -> Tensor:
        """Args:
        w: styles, [N, w_dim].
        keys: of the samples, for noise of their own; None takes the constant noise.
        purpose: which layer's noise.
        gain: of the output.
        """
        style, weight = self.adapted(self.affine(w))
        # Leaky ReLU is homogeneous: a positive gain can go in before it, where the tensors are small.
        gain_in = gain * math.sqrt(2)
        scale = (demodulation(weight, style) * gain_in)[:, :, None, None]
        shift = (self._noise(keys, purpose) * self.noise_strength)[:, None] + self.bias[:, None, None]
        x = x * style.to(x.dtype)[:, :, None, None]
        x = conv_upsampled(x, weight) if self.up else F.conv2d(x, weight, padding=1)
        x = F.leaky_relu_(torch.addcmul((shift * gain_in).to(x.dtype), x, scale.to(x.dtype)), 0.2)
        return x if self.clamp is None else F.hardtanh(x, -self.clamp * gain, self.clamp * gain)

    def _noise(self, keys: Tensor | None, purpose: int) -> Tensor:
        if keys is None:
            return self.noise_const[None]
        noise = keyed_normal(keys, purpose, self.resolution**2).to(self.noise_const.dtype)
        return noise.view(len(keys), self.resolution, self.resolution)


class ToRgb(Adaptable):
    """[N, in, h, w] and styles [N, w_dim] → [N, channels, h, w] by a modulated 1x1 convolution without demodulation."""

    def __init__(self, in_channels: int, channels: int, w_dim: int, *, clamp: float | None) -> None:
        super().__init__()
        self.clamp, self.gain = clamp, 1 / math.sqrt(in_channels)
        self.affine = EqualizedLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.adapted(self.affine(w) * self.gain)
        x = F.conv2d(x * style.to(x.dtype)[:, :, None, None], weight) + self.bias.to(x.dtype)[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
