"""What every augmentation is, and how it reads its random numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Probability = Tensor | float
"""In [0, 1]; a scalar."""


class Policy(NamedTuple):
    """``apply(images, numbers, p)``: [N, C, H, W] in [-1, 1] and [N, ``numbers``], uniform in [0, 1), → images of that shape.

    A sample's result depends on its own row and pixels alone. With p = 0 it is the sample bit for bit. Gradients flow through to
    the images once; a second derivative is not promised, as R1 and its kind look at images that are augmented already.
    """

    apply: Callable[[Tensor, Tensor, Probability], Tensor]
    numbers: int
    geometric: bool  # moves or hides pixels, and so must do to a condition what it does to the image


def as_a_whole(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Probability], Tensor]:
    """A policy that happens to a sample or does not: where its last number is below p."""

    @functools.wraps(change)
    def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
        return torch.where(by_sample(u[:, -1] < p), change(x, u), x)

    return apply


class Draws:
    """The numbers [N, K] of a policy made of several transformations, each of which happens to a sample by itself.

    They are used up one after the other, so the order of calls is part of a policy.
    """

    def __init__(self, numbers: Tensor, p: Probability) -> None:
        self._columns = iter(numbers.unbind(1))
        self._p = p
        self._touched = torch.zeros(len(numbers), dtype=torch.bool, device=numbers.device)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """[N], uniform in [low, high)."""
        return low + (high - low) * next(self._columns)

    def normal(self) -> Tensor:
        """[N], standard normal, at most 5.5 from 0."""
        return torch.special.ndtri(next(self._columns).clamp(2**-25, 1 - 2**-24))

    def given(self, value: Tensor, neutral: float, p: Probability | None = None) -> Tensor:
        """``value`` for the samples to which a transformation happens, with probability ``p``, and ``neutral`` for the others."""
        happens = next(self._columns) < (self._p if p is None else p)
        self._touched |= happens
        return torch.where(happens, value, neutral)

    def result(self, changed: Tensor, images: Tensor) -> Tensor:
        """``changed`` for the samples to which anything happened, and the others as they were."""
        return torch.where(by_sample(self._touched), changed, images)


def by_sample(x: Tensor) -> Tensor:
    """[N] → [N, 1, 1, 1]."""
    return x.view(-1, 1, 1, 1)
