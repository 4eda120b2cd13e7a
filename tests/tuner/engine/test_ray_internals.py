"""Contracts of Ray's names that are not public: which of them broke, when Ray's version is raised.

Each test uses one of them for what `cluster.ray_internals` or `tuner.engine.ray_internals` needs it for. Those that need a
running cluster are used by every sweep in `test_sweep.py`.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.tune.execution.tune_controller import TuneController, _ObjectCache

from cluster import ray_internals as core
from tuner.engine import ray_internals as engine


def test_a_token_can_be_found_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("a" * 64, "b" * 64):
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        core.read_environment_again()
        loader = core.token_loader()
        assert loader.has_token(ignore_auth_mode=True)
        assert loader.get_raw_token(ignore_auth_mode=True) == token


def test_what_the_control_service_is_asked() -> None:
    stub, request = core.control_service()
    assert "CheckAlive" in inspect.getsource(stub)
    assert type(request).__name__ == "CheckAliveRequest"


def test_certificates_are_read_from_where_rays_variables_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        (tmp_path / name).write_text(name)
        monkeypatch.setenv(name, str(tmp_path / name))
    assert core.certificates() == (b"RAY_TLS_SERVER_CERT", b"RAY_TLS_SERVER_KEY", b"RAY_TLS_CA_CERT")


def test_what_this_machine_has() -> None:
    found = core.resources_here(3, 0, 2**27)
    assert (found.num_cpus, found.num_gpus) == (3, 0)
    assert found.memory > 0


def test_the_states_of_a_placement_group() -> None:
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    states = set(PlacementGroupTableData.PlacementGroupState.keys())
    assert states >= {"PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING"}
    fields = set(PlacementGroupTableData.DESCRIPTOR.fields_by_name)
    assert fields >= {"placement_group_id", "creator_job_id", "creator_actor_dead", "creator_actor_id", "state", "bundles"}
    removed = PlacementGroupTableData.PlacementGroupState.Value("REMOVED")
    assert core.placement_group_state(PlacementGroupTableData(state=removed)) == "REMOVED"


def test_a_placement_group_can_be_named_by_its_id() -> None:
    group_id = "ab" * ray.PlacementGroupID.size()
    assert core.placement_group_of(group_id).id.hex() == group_id


def test_addresses_on_this_machine() -> None:
    assert isinstance(core.running_here(), list)
    assert core.started_here() is None or ":" in str(core.started_here())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, at the defaults of Ray Data
def test_train_asks_the_trainer_for_its_callbacks_and_its_controller() -> None:
    fit = inspect.getsource(TorchTrainer.fit)
    assert "self._initialize_and_run_controller(" in fit
    assert "callbacks=self._create_default_callbacks()" in fit
    trainer = engine.InProcessTrainer(
        print,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="x", storage_path="/tmp/x", failure_config=FailureConfig(max_failures=0)),
    )
    kept = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    all_of_them = {type(callback).__name__ for callback in TorchTrainer._create_default_callbacks(trainer)}
    assert all_of_them - kept == {"PlacementGroupCleanerCallback", "DatasetsCallback"}
    assert kept - all_of_them == {"_NotesNodes"}


def test_the_controller_can_be_run_in_this_process() -> None:
    assert inspect.iscoroutinefunction(TrainController._run_control_loop_iteration)
    run = inspect.getsource(TrainController.run)
    assert "while not self.get_state().is_terminal()" in run
    assert "_run_control_loop_iteration()" in run
    assert callable(WorkerGroup.abort)
    assert {"get_worker_group", "_build_result", "get_state"} <= set(dir(TrainController))


def test_tune_keeps_as_many_idle_actors_as_it_is_told() -> None:
    class Controller:
        _actor_cache = _ObjectCache(may_keep_one=True)

    class Trial:
        placement_group_factory = "shape"

    for _ in range(2):  # a second trial of the same shape raises nothing
        engine.keep_actors(Controller, Trial, 3)
    assert Controller._actor_cache._max_num_objects["shape"] == 3
    assert "_actor_cache" in inspect.getsource(TuneController.__init__)
