"""What several generators are made of: normalisation of one sample, and modulation by a style."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.layers.own_dtype import own_dtype


def pixel_norm(x: Tensor) -> Tensor:
    """Divides [N, C, ...] by its root mean square over channels, at each position by itself (Karras et al. 2018)."""
    with own_dtype(x):
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class Modulation(nn.Module):
    """Scales and shifts the channels of [N, C, H, W] by a style [N, style_dim]; a style of zeros changes nothing."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(style_dim, 2 * channels)
        nn.init.normal_(self.linear.weight, std=0.05)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gain, bias = self.linear(style)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + gain) + bias
