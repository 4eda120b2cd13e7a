"""The sweep's choice of n and cadence from a measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuner.sweeps import small_spec
from trainables.metrics import parse_metric
from trainables.metrics.budget import N_CHOICES, choose_evaluation
from tuner.finish.calibration import measure, with_plan
from tuner.spec import dump_spec, load_spec
from tuner.spec.checks import example_configs


@pytest.mark.slow
def test_a_measured_plan_is_written_into_every_trial(tmp_path: Path) -> None:
    spec = small_spec(
        tmp_path, evaluation_budget=0.2, budget__kimg=4, trial__evaluation__also=["kid[efficientnet_lite0,32px,n=32]"]
    )
    measured = measure(example_configs(spec)[0], spec.data, str(tmp_path / "cache"), "cpu", 1)
    assert measured.training_seconds_per_kimg > 0
    assert measured.evaluation_seconds_per_image > 0
    plan = choose_evaluation(measured, kimg=spec.budget.kimg, budget=0.2)
    chosen = with_plan(spec, plan)
    assert chosen.evaluation_budget is None
    for config in example_configs(chosen):
        names = [parse_metric(name) for name in (config.evaluation.metric, *config.evaluation.also)]
        assert {name.n for name in names} == {plan.n} <= set(N_CHOICES)
        assert [name.kind for name in names] == ["fid", "kid"]
        assert config.evaluation.every_kimg == plan.every_kimg
    # What was chosen is what a resumed sweep reads back.
    file = tmp_path / "again.yaml"
    file.write_bytes(dump_spec(chosen))
    assert dump_spec(load_spec(file)) == dump_spec(chosen)
