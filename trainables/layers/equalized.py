"""Layers with equalized learning rate (Karras et al. 2018, section 4.1): weights of unit scale, scaled when they are used.

Adam moves every weight by about as much; scaled at run time by what He et al. (2015) would have initialised them to, all layers
learn at one speed. Names and initial values are those of the official StyleGAN checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.layers.fir import conv_downsampled, conv_upsampled


def leaky_relu(x: Tensor, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2 times √2, which keeps the variance, times ``gain``; then to ±``clamp`` times ``gain``."""
    x = F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def unit_mean_square(x: Tensor) -> Tensor:
    """[N, C] divided by the root of the mean square over C."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class EqualizedLinear(nn.Module):
    """[N, in] → [N, out]: weight times ``lr_multiplier`` / √in, bias times ``lr_multiplier``, and leaky ReLU if asked for.

    Args:
        bias: its initial value.
        lr_multiplier: how fast the layer learns; StyleGAN's mapping takes 0.01.
        activate: whether `leaky_relu` follows.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, bias: float = 0.0, lr_multiplier: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_channels,), bias))
        self.weight_gain, self.bias_gain, self.activate = lr_multiplier / math.sqrt(in_channels), lr_multiplier, activate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return leaky_relu(x) if self.activate else x


class EqualizedConv(nn.Module):
    """[N, in, h, w] → [N, out, h', w']: weight times 1 / √(in k²), with up- or downsampling by two, and leaky ReLU if asked for.

    Args:
        size: k, the kernel's side, odd.
        activate: whether `leaky_relu` follows.
        clamp: the activation's limit; None for none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        *,
        bias: bool = True,
        activate: bool = False,
        up: bool = False,
        down: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain, self.activate, self.up, self.down, self.clamp = 1 / math.sqrt(in_channels * size**2), activate, up, down, clamp

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """``gain``: of the output."""
        # Leaky ReLU is homogeneous: a positive gain can go in before it, where the tensors are small.
        gain_in = gain * (math.sqrt(2) if self.activate else 1)
        weight = self.weight * (self.gain * gain_in)
        bias = None if self.bias is None else self.bias * gain_in
        if self.up:
            x = conv_upsampled(x, weight) if bias is None else conv_upsampled(x, weight) + bias.to(x.dtype)[:, None, None]
        elif self.down:
            x = conv_downsampled(x, weight, bias)
        else:
            x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        if self.activate:
            x = F.leaky_relu_(x, 0.2)
        return x if self.clamp is None else F.hardtanh(x, -self.clamp * gain, self.clamp * gain)
