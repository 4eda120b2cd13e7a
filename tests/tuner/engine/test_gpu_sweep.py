"""A sweep whose worker group has a GPU, on real Ray. Skipped where CUDA is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.session import connect
from tests.tuner.sweeps import State, silent, small_spec
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.engine.sweep import run_sweep

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


def test_a_group_on_one_gpu_runs_trials_one_after_another(tmp_path: Path) -> None:
    resources = {"resources__workers": 1, "resources__gpus_per_worker": 1}
    with connect(num_cpus=2, env_vars=TRAIN_ENVIRONMENT):
        outcome = run_sweep(small_spec(tmp_path, budget__trials=2, **resources), silent)
    records = outcome.records.all()
    assert [record.state for record in records] == [State.COMPLETE] * 2
    first, second = (record.seconds_to_first_step for record in records)
    assert second < first / 3, "the second was handed to a worker that was there"


@pytest.mark.gpu(2)
def test_a_group_of_two_gpus_trains_by_nccl(tmp_path: Path) -> None:
    resources = {"resources__workers": 2, "resources__gpus_per_worker": 1}
    with connect(num_cpus=2, env_vars=TRAIN_ENVIRONMENT):
        outcome = run_sweep(small_spec(tmp_path, budget__trials=1, **resources), silent)
    assert [record.state for record in outcome.records.all()] == [State.COMPLETE]
