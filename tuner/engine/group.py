"""A warm worker group: one ``TorchTrainer`` that is started once and runs one trial after another from the mailbox.

Its owner is a Tune actor, which gives it back on every way out: first the loop is ended, then the Train controller, which would
otherwise build another group. The controller runs inside the Tune actor, so that neither outlives the other; the placement group
of one that was killed is taken back by `reclaim`.
"""

from __future__ import annotations

import tempfile
import threading
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape
from trainables.worker import train_loop
from tuner.engine.ray_internals import InProcessTrainer

# What Ray Train needs to start fast and to notice a dead worker soon; for every process of the sweep.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
}


class WarmGroup:
    """Starts the worker group in a thread at construction; trials reach it through the mailbox under ``name``."""

    def __init__(self, name: str, mailbox: Any, shape: GroupShape) -> None:
        self.name, self.mailbox = name, mailbox
        self._error: BaseException | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="gansweep-group-")
        self._trainer = InProcessTrainer(
            train_loop,
            train_loop_config={"mailbox": mailbox, "group": name, "threads": max(1, int(shape.cpus_per_worker))},
            scaling_config=ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.gpus_per_worker > 0,
                resources_per_worker=shape.bundle(),
                placement_strategy=shape.strategy,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=self._scratch.name,
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
        self._thread = threading.Thread(target=self._run, name=f"fit {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raises what ended the group, if it has ended."""
        if not self._thread.is_alive():
            raise RuntimeError(f"worker group {self.name} has ended: {self._error}") from self._error

    def release(self, patience_s: float = 3.0) -> None:
        """Ends the loop; workers that do not come to its end in time are killed."""
        ray.get(self.mailbox.close.remote(self.name))
        self._thread.join(patience_s)
        self._trainer.given_up.set()
        self._thread.join(patience_s)
        self._scratch.cleanup()


def reclaim() -> None:
    """Takes back the worker groups whose Tune actor has died, as by kill -9; or the next group would wait for them for ever."""
    remove_placement_groups(group.id for group in held_placement_groups() if group.orphaned)
