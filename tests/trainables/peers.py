"""Real groups of worker processes for tests, and what they do there: a function of (rank, folder) for each piece of work."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.processes import PROCESSES
from tests.trainables.small import faces, small_config
from trainables.collective import Collective, CollectiveError
from trainables.data import ImageDataset
from trainables.gan import GanTrainer

STEPS = 5
SMALL_STEPS: dict[str, Any] = {"optimizer": {"generator_lr": 1e-5, "discriminator_lr": 1e-5}}


Work = Callable[[int, Path], Any]


REFUSING = "refusing"


class Refusing(dist.ProcessGroup):
    """In NCCL's place: a backend that nothing may be sent by."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)

    def getBackendName(self) -> str:  # noqa: N802 - torch's
        return REFUSING

    def _refuse(self, *args: Any) -> Any:
        raise AssertionError("an object was sent by the backend for tensors")

    allreduce = allgather = broadcast = _refuse


def run_group(workers: int, works: Sequence[Work], folder: Path, backend: str = "gloo") -> dict[str, list[Any]]:
    """Does each piece of work, in turn, in processes that share a process group.

    Returns:
        by the function's name, the result of each worker; None of one that ended before.
    """
    processes = [PROCESSES.Process(target=_member, args=(rank, workers, works, folder, backend)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        if process.is_alive():
            process.kill()
            raise TimeoutError("a worker did not end")
    return {work.__name__: [_result(folder, work, rank) for rank in range(workers)] for work in works}


def _member(rank: int, workers: int, works: Sequence[Work], folder: Path, backend: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder / 'rendezvous'}"
    if backend == REFUSING:
        dist.Backend.register_backend(REFUSING, lambda *options: Refusing(*options[1:3]), devices=["cpu"])
    dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=workers, timeout=timedelta(seconds=120))
    for work in works:
        torch.save(work(rank, folder), folder / f"{work.__name__}_{rank}.pt")


def _result(folder: Path, work: Work, rank: int) -> Any:
    file = folder / f"{work.__name__}_{rank}.pt"
    return torch.load(file, weights_only=True) if file.exists() else None


class InDouble:
    """The same pictures as float64."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor) -> Tensor:
        return self.dataset.batch(indices).double()


def alone() -> Collective:
    """What a single worker has."""
    collective = Collective()
    collective.rank, collective.world_size = 0, 1
    return collective


def train(rank: int, folder: Path) -> dict[str, Any]:
    """Five steps in a group and, on the first worker, the same alone; in float32 and in float64."""
    dataset = faces(folder / "cache")
    results: dict[str, Any] = {}
    for dtype, images, changes in ((torch.float32, dataset, SMALL_STEPS), (torch.float64, InDouble(dataset), {})):
        torch.set_default_dtype(dtype)
        for name, collective in {"group": Collective(), "alone": alone()}.items():
            if name == "alone" and rank > 0:
                continue
            trainer = GanTrainer(small_config(**changes), images, collective=collective)
            for network in (trainer.generator, trainer.ema, trainer.discriminator, trainer.picture_losses.extractor):
                assert network is not None
                network.to(dtype)
            start = copy.deepcopy(trainer.state_dict())
            losses = [trainer.step() for _ in range(STEPS)]
            results[f"{name} {dtype}"] = {"start": start, "losses": losses, "state": trainer.state_dict()}
    torch.set_default_dtype(torch.float32)
    return results


def operations(rank: int, folder: Path) -> dict[str, Any]:
    """Every operation of `Collective` on values that name their rank."""
    collective = Collective()
    x = torch.tensor([1.0, 10.0]) * (rank + 1)
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1, 3)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad = x.clone()
    parameters[1].grad = torch.full((1, 3), float(rank))
    collective.average_gradients(parameters)
    leaf = x.clone().requires_grad_()
    mean = collective.mean(leaf)
    (mean * torch.tensor([2.0, 3.0])).sum().backward()
    total = collective.sum(x)
    return {
        "gradients": [p.grad for p in parameters],
        "mean": mean.detach(),
        "gradient of mean": leaf.grad,
        "sum": total,
        "x": x,
        "rows": collective.gather_rows(torch.full((rank + 1, 2), rank, dtype=torch.int64)),
        "no rows": collective.gather_rows(torch.full((rank, 3), 7.0)),
        "broadcast": collective.broadcast({"from": rank}),
        "gather": collective.gather(f"rank {rank}"),
        "share of 8": list(range(8)[collective.share(8)]),
        "share of 5": list(range(5)[collective.share(5)]),
    }


def exchange_objects(rank: int, folder: Path) -> dict[str, Any]:
    """Objects, and the numbers of rows; tensors themselves cannot be sent by this group's backend."""
    collective, again = Collective(), Collective()
    found = {"broadcast": collective.broadcast({"from": rank}), "gather": again.gather(f"rank {rank}")}
    for name, attempt in {"sum": collective.sum, "gather_rows": collective.gather_rows}.items():
        try:
            attempt(torch.ones(1, 1))
        except AssertionError as error:
            found[name] = str(error)
    return found


def the_second_dies(rank: int, folder: Path) -> dict[str, str]:
    """The second worker vanishes; the first tries every operation."""
    collective = Collective()
    collective.sum(torch.ones(1))
    if rank == 1:
        os._exit(0)
    attempts: dict[str, Callable[[], Any]] = {
        "sum": lambda: collective.sum(torch.ones(1)),
        "mean": lambda: collective.mean(torch.ones(1)),
        "gather_rows": lambda: collective.gather_rows(torch.ones(1, 1)),
        "broadcast": lambda: collective.broadcast("x"),
        "gather": lambda: collective.gather("x"),
    }
    raised = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except CollectiveError as error:
            raised[name] = str(error)
    return raised
