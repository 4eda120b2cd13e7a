"""A warm worker group: one ``TorchTrainer`` that is started once and runs one trial after another from the mailbox.

Its owner is a Tune actor, which gives it back on every way out: first the loop is ended, then the Train controller, which would
otherwise build another group. The controller runs inside the Tune actor, so that neither outlives the other; the placement group
of one that was killed is taken back by `reclaim`.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from typing import Any

import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController

from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape
from trainables.worker import train_loop

# What Ray Train needs to start fast and to notice a dead worker soon; for every process of the sweep.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
}


class _Trainer(TorchTrainer):
    """Starts no process but the workers and what joins them. Left out, or brought here, are Train's controller, which would load
    the same libraries once more before any worker starts; its cleaner of placement groups, which polls a dashboard that may not
    be there; and its manager of Ray Data sets, of which we have none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given_up = threading.Event()  # ends `fit` soon, whatever the workers do

    def _create_default_callbacks(self) -> list[Any]:
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        controller = TrainController(**arguments)

        async def control() -> None:
            while not controller.get_state().is_terminal():
                if self.given_up.is_set():
                    if (workers := controller.get_worker_group()) is not None:
                        workers.abort()
                    return
                await controller._run_control_loop_iteration()

        asyncio.run(control())
        return controller._build_result()


def start_coordinator() -> None:
    """Starts the actor through which all Train controllers of a cluster ask for resources.

    The first controller would start it and wait for three seconds; from here it starts beside Tune.
    """
    get_or_create_autoscaling_coordinator()


class WarmGroup:
    """Starts the worker group in a thread at construction; trials reach it through the mailbox under ``name``."""

    def __init__(self, name: str, mailbox: Any, shape: GroupShape) -> None:
        self.name, self.mailbox = name, mailbox
        self._error: BaseException | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="gansweep-group-")
        self._trainer = _Trainer(
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
