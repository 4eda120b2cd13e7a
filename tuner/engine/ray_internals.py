"""Every name of Ray Tune and Ray Train that is not part of their public interface, each with why it is needed.

Those of Ray's core are in `cluster.ray_internals`. `tests/tuner/engine/test_ray_internals.py` says which of them broke when Ray
changes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]  # missing in its stub
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator
from ray.train import FailureConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

NODE_LABEL: str = RAY_NODE_ID_KEY
"""The label by which a selector of labels names nodes; Ray documents its value, ``ray.io/node-id``, but gives no public name."""


def start_coordinator() -> None:
    """Starts the actor through which all Train controllers of a cluster ask for resources.

    The first controller would start it and wait for three seconds; from here it starts beside Tune.
    """
    get_or_create_autoscaling_coordinator()


def keep_actors(tune_controller: Any, trial: Any, count: int) -> None:
    """Has Tune keep up to ``count`` idle actors for reuse.

    Publicly it keeps one: of two trials that end at once, one would lose its warm worker group.
    """
    cache = tune_controller._actor_cache
    if not cache._max_num_objects[trial.placement_group_factory]:
        cache.increase_max(trial.placement_group_factory, count)


def drop_idle_actors(tune_controller: Any) -> None:
    """Has Tune end the actors that it keeps for reuse, unless a trial waits for one.

    Publicly it ends them when the whole search is over: the first group to fall idle would hold its GPUs until the slowest trial
    has ended.
    """
    if tune_controller._actor_cache.num_cached_objects and not tune_controller._pending_trials:
        tune_controller._cleanup_cached_actors(force_all=True)


def actor_id_of(trial: Any) -> str | None:
    """The id of the actor that runs a Tune trial, by which its placement groups are known; None while it has none."""
    actor = trial.temporary_state.ray_actor
    return None if actor is None else str(actor._actor_id.hex())


class _WaitsForRoomAlone(FailurePolicy):
    """Goes on trying while the cluster has no room for a group; everything else is told to the sweep.

    Train's own policy counts both alike, or retries for ever and in silence.
    """

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        waits = isinstance(training_failed_error, ControllerError) and isinstance(
            training_failed_error.controller_failure, WorkerGroupStartupTimeoutError
        )
        return FailureDecision.RETRY if waits else FailureDecision.RAISE


class _NotesNodes(WorkerGroupCallback):
    """Tells a trainer where its workers are as soon as they are placed: what fails while they start has happened there."""

    def __init__(self, trainer: InProcessTrainer) -> None:
        self._trainer = trainer

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        self._trainer.nodes = [worker.metadata.node_id for worker in workers]
        return {}


class InProcessTrainer(TorchTrainer):
    """A `TorchTrainer` that starts no process but the workers and what joins them.

    Left out, or brought here, are Train's controller, which would load the same libraries once more before any worker starts, and
    which publicly cannot be ended but by killing its actor; its cleaner of placement groups, which polls a dashboard that may not
    be there; and its manager of Ray Data sets, of which we have none.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given_up = threading.Event()  # ends `fit` soon, whatever the workers do
        self.nodes: list[str] = []  # ids of the workers' nodes, by rank, once they are placed

    def _create_default_callbacks(self) -> list[Any]:
        unused = (PlacementGroupCleanerCallback, DatasetsCallback)
        kept = [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]
        return [*kept, _NotesNodes(self)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        controller = TrainController(**arguments | {"failure_policy": _WaitsForRoomAlone(FailureConfig(max_failures=0))})

        async def control() -> None:
            while not controller.get_state().is_terminal():
                if self.given_up.is_set():
                    if (workers := controller.get_worker_group()) is not None:
                        workers.abort()
                    return
                await controller._run_control_loop_iteration()

        asyncio.run(control())
        return controller._build_result()
