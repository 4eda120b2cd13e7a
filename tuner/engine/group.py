"""A warm worker group: one ``TorchTrainer`` that is started once and runs one trial after another from its mailbox.

Its owner is a Tune actor, which gives it back on every way out: first the loop is ended, then the Train controller, which would
otherwise build another group. The controller runs inside the Tune actor, so that neither outlives the other; the placement group
of one that was killed is taken back by `reclaim`. A group is never mended: one that lost a worker is given back whole, and the
sweep decides where its trial goes on.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape
from trainables.worker import train_loop
from tuner.engine.mailbox import Mailbox
from tuner.engine.ray_internals import NODE_LABEL, InProcessTrainer

# What Ray Train needs to start fast and to notice a dead worker soon; for every process of the sweep.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
}


class GroupEndedError(RuntimeError):
    """A worker group has ended by itself, as when a worker died.

    Args:
        nodes: ids of the nodes whose workers failed; all of the group's where that is not known.
    """

    def __init__(self, message: str, nodes: Collection[str]) -> None:
        super().__init__(message)
        self.nodes = sorted(nodes)


class WarmGroup:
    """Starts the worker group in a thread at construction; trials reach it through `mailbox`.

    Args:
        avoid: ids of nodes on which no worker may be placed.
    """

    def __init__(self, name: str, shape: GroupShape, avoid: Collection[str] = ()) -> None:
        self.name, self.avoid = name, frozenset(avoid)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.mailbox: Any = Mailbox.options(scheduling_strategy=here).remote()
        self._error: BaseException | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="gansweep-group-", ignore_cleanup_errors=True)
        self._trainer = InProcessTrainer(
            train_loop,
            train_loop_config={"mailbox": self.mailbox, "threads": max(1, int(shape.cpus_per_worker))},
            scaling_config=ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.gpus_per_worker > 0,
                resources_per_worker=shape.bundle(),
                placement_strategy=shape.strategy,
                label_selector={NODE_LABEL: f"!in({','.join(sorted(self.avoid))})"} if self.avoid else None,
            ),
            run_config=RunConfig(name=name, storage_path=self._scratch.name, failure_config=FailureConfig(max_failures=0)),
        )
        self._thread = threading.Thread(target=self._run, name=f"fit {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._error = error

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes that the workers run on, by rank; [] before they are placed."""
        return self._trainer.nodes

    def check(self) -> None:
        """Raises `GroupEndedError` if the group has ended."""
        if not self._thread.is_alive():
            failed = getattr(self._error, "worker_failures", {})
            nodes = {self.nodes[rank] for rank in failed if rank < len(self.nodes)} or set(self.nodes)
            raise GroupEndedError(f"its worker group has ended: {_said(self._error)}", nodes) from self._error

    def release(self, patience_s: float = 3.0) -> None:
        """Ends the loop; workers that do not come to its end in time are killed."""
        try:
            ray.get(self.mailbox.close.remote(), timeout=patience_s)
        except (ray.exceptions.RayError, TimeoutError):
            self._trainer.given_up.set()  # nobody can tell the workers
        self._thread.join(patience_s)
        self._trainer.given_up.set()
        self._thread.join(patience_s)
        ray.kill(self.mailbox)
        # Train gives up a group that failed while it was started without giving its placement group back.
        me = ray.get_runtime_context().get_actor_id()
        with suppress(TimeoutError):
            remove_placement_groups(held.id for held in held_placement_groups() if held.creator == me)
        self._scratch.cleanup()


def reclaim() -> None:
    """Takes back the worker groups whose Tune actor has died, as by kill -9; or the next group would wait for them for ever."""
    with suppress(TimeoutError):  # Ray is slow; what is left is looked for again
        remove_placement_groups(group.id for group in held_placement_groups() if group.orphaned)


def _said(error: BaseException | None) -> str:
    """What Train says of the end of a group, without the traces through Ray's own code."""
    failures = getattr(error, "worker_failures", None)
    if not failures:
        return f"{type(error).__name__}: {error}" if error else "its workers have left their loop"
    said = {rank: str(getattr(failure, "cause", None) or failure).strip() for rank, failure in sorted(failures.items())}
    return "; ".join(f"worker {rank}: {type(failures[rank]).__name__}: {text}" for rank, text in said.items())
