"""What a step needs from the host, in one copy: a copy by itself costs a GPU more than what most of these tensors hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

_ALIGNMENT = 16  # bytes: of the widest dtype, and of what a GPU loads at once

T = TypeVar("T")


@dataclass(frozen=True)
class Parcel:
    """Tensors of any dtypes and shapes, one after the other in ``buffer``."""

    buffer: Tensor
    """uint8 [bytes], on the CPU."""
    places: Mapping[str, tuple[int, torch.dtype, torch.Size]]
    """Of each tensor, the place of its first byte."""

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """The tensors, views of one copy of the buffer. It is not waited for where the buffer is in pinned memory."""
        moved = self.buffer.to(device, non_blocking=True)
        return {
            name: moved[start : start + dtype.itemsize * shape.numel()].view(dtype).view(shape)
            for name, (start, dtype, shape) in self.places.items()
        }


def packed(tensors: Mapping[str, Tensor], *, pin_memory: bool) -> Parcel:
    """A parcel of tensors that are on the CPU."""
    places, end = {}, 0
    for name, x in tensors.items():
        places[name] = (end, x.dtype, x.shape)
        end += -(-x.nbytes // _ALIGNMENT) * _ALIGNMENT
    buffer = torch.empty(end, dtype=torch.uint8, pin_memory=pin_memory)
    for name, (start, _, _) in places.items():
        x = tensors[name]
        buffer[start : start + x.nbytes].copy_(x.contiguous().view(-1).view(torch.uint8))
    return Parcel(buffer, places)


class Ahead(Generic[T]):
    """``make(step)`` for one step after another, of which the next is made by a thread while the present one runs.

    Args:
        make: a function of the step alone. What it raises, the step raises that asks for it.
        steps: how many there are.
        begin: what the thread does first.
    """

    def __init__(self, make: Callable[[int], T], steps: int, begin: Callable[[], object] | None = None) -> None:
        self._make, self._steps = make, steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches", initializer=begin)  # its thread ends with this object
        self._next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        made, self._next = self._next, None
        found = made[1].result() if made is not None and made[0] == step else self._make(step)
        if step + 1 < self._steps:
            self._next = (step + 1, self._pool.submit(self._make, step + 1))
        return found
