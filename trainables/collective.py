"""What the data-parallel workers of one trial do together, over ``torch.distributed`` where a process group exists.

A trial's global batch is split evenly; everything here makes W workers compute what one worker with the whole batch would.
Gradients are averaged by one flat all-reduce rather than by ``DistributedDataParallel``: a GAN step runs each network several
times, with and without gradient, and needs second derivatives, which DDP's reducer does not support (pytorch#175024).

Tensors go by the process group's own backend, NCCL between GPUs. Objects go by gloo, in a group of their own: NCCL would copy
them to a GPU, spin there while rank 0 waits for a verdict or for the next trial, and give up at its time limit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import set_timeout

_PATIENCE = timedelta(days=365)  # a peer that dies is noticed at once; how long one may wait for the sweep is not gloo's to say


class CollectiveError(RuntimeError):
    """A peer of the worker group has gone: not the fault of the trial that was running."""


@contextmanager
def _peers() -> Iterator[None]:
    """Tells a broken process group apart from errors of the trial's own."""
    try:
        yield
    except RuntimeError as error:
        raise CollectiveError(f"a peer of this worker group has gone: {error}") from error


class Collective:
    """The workers of one trial. Without a process group it is a single worker and every call is local.

    In a process group all workers make their first one together.
    """

    def __init__(self) -> None:
        grouped = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if grouped else 0
        self.world_size: int = dist.get_world_size() if grouped else 1
        self._objects = _group_for_objects(dist.group.WORLD) if self.world_size > 1 else None

    def share(self, global_batch: int) -> slice:
        """This worker's rows of a global batch; contiguous, in rank order, sizes differing by one at most."""
        return slice(self.rank * global_batch // self.world_size, (self.rank + 1) * global_batch // self.world_size)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces every gradient by its mean over the workers (shares must be equal)."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world_size == 1 or not gradients:
            return
        flat = torch.cat([g.reshape(-1) for g in gradients])
        _all_reduce(flat)
        flat /= self.world_size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, x: Tensor) -> Tensor:
        """Mean of ``x`` over the workers, through which gradients flow.

        The gradient of a worker's own ``x`` is left unscaled: averaged over workers by `average_gradients`, it is then the
        gradient of one loss computed on the global batch.
        """
        return x if self.world_size == 1 else _Mean.apply(x, self.world_size)

    def sum(self, x: Tensor) -> Tensor:
        """Sum of ``x`` over the workers, without gradient."""
        if self.world_size == 1:
            return x
        total = x.detach().clone()
        _all_reduce(total)
        return total

    def gather_rows(self, x: Tensor) -> Tensor:
        """Concatenates the rows of all workers, in rank order. Workers may hold different numbers of rows ([n_w, ...])."""
        if self.world_size == 1:
            return x
        counts = self.gather(x.shape[0])  # by gloo: no device is waited for
        padded = x.new_zeros((max(counts), *x.shape[1:]))
        padded[: x.shape[0]] = x
        parts = [torch.empty_like(padded) for _ in counts]
        with _peers():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast(self, value: Any) -> Any:
        """Rank 0's ``value``, on every worker. Any object that pickles; between workers of one trial only."""
        if self.world_size == 1:
            return value
        box = [value]
        with _peers():
            dist.broadcast_object_list(box, src=0, group=self._objects)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every worker's ``value``, in rank order, on every worker."""
        if self.world_size == 1:
            return [value]
        box: list[Any] = [None] * self.world_size
        with _peers():
            dist.all_gather_object(box, value, group=self._objects)
        return box


@functools.lru_cache(maxsize=1)  # of the process's one group of all workers
def _group_for_objects(world: Any) -> dist.ProcessGroup:
    with _peers():
        group = dist.new_group(backend="gloo")
        assert isinstance(group, dist.ProcessGroup)  # of all workers, so this one is in it
        dist.barrier(group)  # all are connected, or are told so within gloo's own time limit
        set_timeout(_PATIENCE, group)
    return group


def _all_reduce(x: Tensor) -> None:
    with _peers():
        dist.all_reduce(x)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, world_size: int) -> Tensor:
        total = x.detach().clone()
        _all_reduce(total)
        return total / world_size

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Every worker holds the same upstream gradient, so d(loss)/d(own x) · W / W is just that gradient.
        return grads[0], None
