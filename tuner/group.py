"""A warm worker group: one ``TorchTrainer`` that is started once and runs one trial after another from the mailbox.

Its owner is a Tune actor, which gives it back on every way out. Order matters there: removing a placement group while the Train
controller lives makes the controller build another, which leaks. So the loop is ended first, then the controller, then the rest.
"""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import threading
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

from cluster.placement import GroupShape
from trainables.worker import train_loop
from tuner.mailbox import Owned

# What Ray Train needs to start fast and to notice a dead worker soon; for every process of the sweep.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
}


class _TellMailbox(ControllerCallback, WorkerGroupCallback):
    """Runs in the Train controller: tells the mailbox what has to be given back when the group ends."""

    def __init__(self, mailbox: Any, group: str) -> None:
        self.mailbox, self.group = mailbox, group

    def after_controller_start(self, train_run_context: Any) -> None:
        ray.get(self.mailbox.owns.remote(self.group, controller=_as_bytes(ray.get_runtime_context().current_actor)))

    def after_worker_group_start(self, worker_group: Any) -> None:
        handle = worker_group.get_worker_group_state().placement_group_handle
        ray.get(self.mailbox.owns.remote(self.group, placement_group=handle.placement_group))


class _Trainer(TorchTrainer):
    """Leaves out Train's own cleaner of placement groups: a process per group that polls a dashboard which may not be there."""

    def _create_default_callbacks(self) -> list[Any]:
        return [c for c in super()._create_default_callbacks() if not isinstance(c, PlacementGroupCleanerCallback)]


class WarmGroup:
    """Starts the worker group in a thread at construction; trials reach it through the mailbox under ``name``."""

    def __init__(self, name: str, mailbox: Any, shape: GroupShape) -> None:
        self.name, self.mailbox = name, mailbox
        self._error: BaseException | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="gansweep-group-")
        trainer = _Trainer(
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
                callbacks=[_TellMailbox(mailbox, name)],
            ),
        )
        ray.get(mailbox.owns.remote(name, owner=_as_bytes(ray.get_runtime_context().current_actor)))
        self._thread = threading.Thread(target=self._run, args=(trainer,), name=f"fit {name}", daemon=True)
        self._thread.start()

    def _run(self, trainer: _Trainer) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raises what ended the group, if it has ended."""
        if not self._thread.is_alive():
            raise RuntimeError(f"worker group {self.name} has ended: {self._error}") from self._error

    def release(self, patience_s: float = 3.0) -> None:
        """Ends the loop, waits for the controller, then takes back whatever is left."""
        ray.get(self.mailbox.close.remote(self.name))
        self._thread.join(patience_s)
        release(ray.get(self.mailbox.owned.remote(self.name)))
        self._scratch.cleanup()


def _as_bytes(handle: Any) -> bytes:
    """An actor's handle as the mailbox passes it on, unread: reading it would import torch there, which takes seconds."""
    return ray.cloudpickle.dumps(handle)


def reclaim(mailbox: Any) -> None:
    """Takes back what groups hold whose Tune actor has died, as by kill -9; or the next group would wait for it for ever."""
    for item in ray.get(mailbox.owned.remote()):
        try:
            ray.get(pickle.loads(item.owner).__ray_ready__.remote(), timeout=0.5)
        except GetTimeoutError:
            continue  # alive, and busy with a trial
        except RayError:
            release([item])


def release(owned: list[Owned]) -> None:
    """Stops Train controllers that still run, with their workers, then removes their placement groups. May be called again."""
    for item in owned:
        if item.controller:
            controller = pickle.loads(item.controller)
            # The abort ends the controller's own process, which is reported as an error; a dead one is reported as such.
            with contextlib.suppress(RayError):
                ray.get(controller.abort.remote(), timeout=5)
            with contextlib.suppress(RayError):
                ray.kill(controller)
    for item in owned:
        for placement_group in item.placement_groups:
            ray.util.remove_placement_group(placement_group)
