"""What StyleGAN3 starts from: waves over a plane without borders, turned and shifted by the style (Karras et al. 2021, 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.layers.coordinates import applied, product
from trainables.layers.equalized import EqualizedLinear
from trainables.layers.filtered_lrelu import Signal


class FourierInput(nn.Module):
    """Styles [N, w_dim] → [N, channels, size, size]: sines of random frequencies, mixed by a matrix.

    The picture's side is one unit of length, its middle the origin. The buffer ``transform`` [3, 3] takes points of the output
    (column, row, 1) to points of the plane: what moves the picture by some way is a transform by the opposite way.
    """

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, channels: int, w_dim: int, signal: Signal) -> None:
        super().__init__()
        self.signal = signal
        self.affine = EqualizedLinear(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        # Uniform over the disc of frequencies up to the cutoff.
        radius, angle = signal.cutoff * torch.rand(channels).sqrt(), 2 * math.pi * torch.rand(channels)
        self.register_buffer("freqs", torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1))
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def forward(self, w: Tensor) -> Tensor:
        # Whatever autocast says: a phase of some turns, in half precision, would be wrong by degrees.
        with torch.autocast(w.device.type, enabled=False):
            motion = self._motion(w.to(self.weight.dtype))
            phases = self.phases + applied(self.freqs, motion[:, :2, 2])
            freqs = product(self.freqs, motion[:, :2, :2])
            waves = self._waves(freqs, phases) * self._amplitudes(freqs)[:, :, None, None]
            return F.conv2d(waves, (self.weight / math.sqrt(len(self.weight)))[:, :, None, None])

    def _motion(self, w: Tensor) -> Tensor:
        """[N, 3, 3]: the user's transform, then the style's shift, then its turn."""
        numbers = self.affine(w)
        # All four by the length of the first two, which gives a turn; the others are the shift.
        cos, sin, shift_x, shift_y = (numbers / numbers[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = _matrices([[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]])
        shift = _matrices([[one, zero, -shift_x], [zero, one, -shift_y], [zero, zero, one]])
        return product(product(turn, shift), self.transform)

    def _amplitudes(self, freqs: Tensor) -> Tensor:
        """[N, C]: falling from 1 at the cutoff to 0 at what the grid holds, in case a transform shrinks the plane."""
        limit = self.signal.rate / 2
        return (1 - (freqs.norm(dim=2) - self.signal.cutoff) / (limit - self.signal.cutoff)).clamp(0, 1)

    def _waves(self, freqs: Tensor, phases: Tensor) -> Tensor:
        """[N, C, size, size] at the middles of the samples."""
        size = self.signal.size
        at = (torch.arange(size, dtype=freqs.dtype, device=freqs.device) - (size - 1) / 2) / self.signal.rate
        turns = freqs[:, :, 0, None, None] * at + freqs[:, :, 1, None, None] * at[:, None] + phases[:, :, None, None]
        return torch.sin(2 * math.pi * turns)


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    """[N, 3, 3] of entries [N]."""
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
