"""The spec as data: what its numbers may be, and what they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuner.sweeps import small_spec
from tuner.engine.sweep import group_shape
from tuner.spec import SpecError

NUMBERS = {
    "budget.kimg": float,
    "budget.trials": int,
    "budget.wall_minutes": float,
    "breaker": int,
    "data.resolution": int,
    "evaluation_budget": float,
    "resources.cpus_per_worker": float,
    "resources.gpus_per_worker": float,
    "resources.max_groups": int,
    "resources.memory_gib_per_worker": float,
    "resources.workers": int,
    "retries": int,
    "scheduler.grace_kimg": float,
    "seed": int,
}


def test_what_a_worker_group_asks_for_comes_from_the_spec(tmp_path: Path) -> None:
    spec = small_spec(
        tmp_path,
        resources={"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1, "memory_gib_per_worker": 1.5, "one_node": True},
    )
    shape = group_shape(spec)
    assert (shape.workers, shape.cpus_per_worker, shape.gpus_per_worker) == (2, 3, 1)
    assert shape.memory_bytes_per_worker == 3 * 2**29
    assert shape.one_node


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_number_of_a_spec_is_infinite_or_nothing(tmp_path: Path, key: str, value: str) -> None:
    halving: dict[str, Any] = {"name": "successive_halving", "grace_kimg": 0.016}
    with pytest.raises(SpecError) as error:
        small_spec(tmp_path, scheduler=halving, **{key.replace(".", "__"): float(value)})
    assert [problem.key for problem in error.value.problems] == [key]
