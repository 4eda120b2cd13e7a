"""Reconstruction losses of paired tasks: ``(output, target)`` of one shape → the mean over all values, a scalar >= 0."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trainables.losses.precision import in_float32

ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]
_EPSILON = 1e-3  # Lai et al. 2018 use the same, for images in [0, 1]


def _difference(output: Tensor, target: Tensor) -> Tensor:
    if output.shape != target.shape:
        raise ValueError(f"output and target must have one shape, but got {tuple(output.shape)} and {tuple(target.shape)}")
    return in_float32(output) - in_float32(target)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean |output - target|."""
    return _difference(output, target).abs().mean()


def l2(output: Tensor, target: Tensor) -> Tensor:
    """Mean (output - target)²."""
    return _difference(output, target).square().mean()


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """Mean √((output - target)² + ε²), ε = 1e-3: an L1 that is smooth at 0 (Charbonnier et al. 1994, Lai et al. 2018)."""
    return (_difference(output, target).square() + _EPSILON**2).sqrt().mean()
