"""The range of picture values: a differentiable bound, the 256 levels of a file, and conversion to and from [0, 1]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def bounded(x: Tensor) -> Tensor:
    """``x`` clamped to [-1, 1], with a gradient that leads back.

    The gradient of a plain clamp is 0 outside, where a value would stay for good, its error unseen. Here it is passed on wherever
    a descent step moves the value towards the range, and stopped only where it would move it further out.
    """
    return _Bounded.apply(x)


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        (grad,) = grads
        outwards = ((x > 1) & (grad < 0)) | ((x < -1) & (grad > 0))
        return grad.masked_fill(outwards, 0.0)


def to_levels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1], clipped if beyond → the levels 0 … 255 that a file would hold, as floats."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round()


def from_levels(levels: Tensor) -> Tensor:
    """Levels 0 … 255 → [-1, 1], by the same arithmetic as data sets use, so that equal levels are equal bit for bit."""
    return levels.float() / 127.5 - 1.0


def as_file(x: Tensor) -> Tensor:
    """Pictures as an 8-bit file would hold them: what a network is trained on is what it will be given."""
    return from_levels(to_levels(x))
