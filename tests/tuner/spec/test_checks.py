"""Parts of a spec that do not fit each other, by the rule. (All at once, and where they are written: see test_bad_spec.py.)"""

from __future__ import annotations

import pytest

from tests.tuner.command import Command, changed
from tuner.spec import SweepSpec
from tuner.spec.checks import check_spec
from tuner.spec.problems import Problem


def problems(workers: int, gpus: float) -> list[Problem]:
    changes = {"resources": {"workers": workers, "gpus_per_worker": gpus}}
    return check_spec(SweepSpec.model_validate(changed(changes)))


@pytest.mark.parametrize("gpus", [0.5, 0.25, 0.999])
def test_two_workers_cannot_share_a_gpu(gpus: float) -> None:
    (problem,) = problems(2, gpus)
    assert problem.key == "resources.gpus_per_worker"
    assert problem.message == (
        "must be 0, 1 or more with two workers or more: each needs a GPU of its own, because NCCL refuses two on one GPU, "
        f"but got {gpus:g}"
    )


@pytest.mark.parametrize(("workers", "gpus"), [(1, 0.25), (1, 0), (2, 0), (2, 1), (4, 2)])
def test_one_worker_may_take_a_part_of_a_gpu_and_several_whole_ones(workers: int, gpus: float) -> None:
    assert problems(workers, gpus) == []


def test_the_refusal_names_its_line(command: Command) -> None:
    (found,) = command.problems({"resources": {"workers": 2, "gpus_per_worker": 0.5}}, "--dry-run")
    assert ": resources.gpus_per_worker: must be 0, 1 or more with two workers or more" in found


def test_a_starting_point_that_an_override_left_out_is_told_with_why(command: Command) -> None:
    spec = {"space": "stylegan2_transfer", "try_first": ["freezed"], "trial/generator": {"name": "stylegan2"}}
    spec |= {"trial/adaptive": {}, "trial/regularisers": [{"name": "r1"}]}
    override = "space.discriminator.frozen_depth=[{when: {discriminator.name: stylegan2}, int: {low: 0, high: 3}}]"
    (found,) = command.problems(spec, "--dry-run", "--set", override)
    assert "try_first: unknown starting point 'freezed'" in found
    assert found.endswith(". stylegan2_transfer has it (--set space.… leaves out those that no longer fit)")
