"""Every name of Ray Tune and Ray Train that is not part of their public interface, each with why it is needed.

Those of Ray's core are in `cluster.ray_internals`. `tests/tuner/engine/test_ray_internals.py` says which of them broke when Ray
changes.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController


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


class InProcessTrainer(TorchTrainer):
    """A `TorchTrainer` that starts no process but the workers and what joins them.

    Left out, or brought here, are Train's controller, which would load the same libraries once more before any worker starts, and
    which publicly cannot be ended but by killing its actor; its cleaner of placement groups, which polls a dashboard that may not
    be there; and its manager of Ray Data sets, of which we have none.
    """

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
