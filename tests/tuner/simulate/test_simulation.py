"""The simulated clock, groups and budget, and that it is the engine's own parts which decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from tests.tuner.simulate.cases import by_x, level, setting
from tuner.records.trials import Fault, State
from tuner.simulate import Outcome, Simulation
from tuner.simulate.methods import Ours
from tuner.simulate.simulation import Event
from tuner.simulate.synthetic import made_up


def decisions(simulation: Simulation) -> list[tuple[State, str, int]]:
    """State, reason and reports of every trial."""
    assert isinstance(simulation.method, Ours)
    return [(record.state, record.reason, len(record.reports)) for record in simulation.method.records.all()]


def test_a_small_sweep_by_hand() -> None:
    simulation = Simulation(level, 2, 0, setting=setting(3.0, 1.0, 2.0, 4.0), costs=by_x())
    outcome = simulation.run()
    assert outcome.events == [
        Event(11, 1, 1, 1, 1.0, True),  # the first at the rung of 1 kimg
        Event(12, 1, 1, 2, 1.0, True),  # the first at the rung of 2
        Event(13, 0, 0, 1, 3.0, False),  # 2nd of 2
        Event(13, 1, 1, 3, 1.0, True),
        Event(14, 1, 1, 4, 1.0, False),  # complete
        Event(16, 0, 2, 1, 2.0, False),  # handed over at 13, 1 s, 2 s to the report; 2nd of 3, of which 1 goes on
        Event(19, 1, 3, 1, 4.0, False),  # 4th of 4, of which 2 go on
    ]
    assert [x["x"] for x in outcome.configs.values()] == [3.0, 1.0, 2.0, 4.0]
    assert (outcome.kimg, outcome.working_s, outcome.handed_over, outcome.time) == (7, 1 * 4 + 3 + 2 + 4, 4, 19)
    assert (outcome.best, outcome.time_to(2.0), outcome.time_to(0.5), outcome.share_of_winner) == (1.0, 11, math.inf, 4 / 7)
    assert decisions(simulation) == [
        (State.STOPPED, "best SCORE 3 is 2nd of 2 trials at the rung of 1 kimg; the best 1 goes on", 1),
        (State.COMPLETE, "reached its budget of images", 4),
        (State.STOPPED, "best SCORE 2 is 2nd of 3 trials at the rung of 1 kimg; the best 1 goes on", 1),
        (State.STOPPED, "best SCORE 4 is 4th of 4 trials at the rung of 1 kimg; the best 2 go on", 1),
    ]


def test_it_ends_with_its_budget() -> None:
    outcome = Simulation(level, 1, 0, setting=setting(3.0, 1.0, 2.0, total_kimg=6), costs=by_x()).run()
    assert outcome.kimg == 6
    assert [event.number for event in outcome.events] == [0] * 4 + [1] * 2


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_training_that_fails_is_the_engine_s_affair(broken: float) -> None:
    def curves(config: Mapping[str, Any], seed: int) -> tuple[np.ndarray, float]:
        return np.array([config["x"], broken, broken, broken]), 1.0

    simulation = Simulation(curves, 1, 0, setting=setting(3.0, 1.0))
    outcome = simulation.run()
    assert [event.goes_on for event in outcome.events] == [True, False] * 2
    assert decisions(simulation) == [(State.FAILED, f"the score is {broken}", 2)] * 2
    assert isinstance(simulation.method, Ours)
    assert [record.fault for record in simulation.method.records.all()] == [Fault.TRAINING] * 2
    told = simulation.method.proposals.study.get_trials()
    assert [(trial.state, next(iter(trial.intermediate_values.values()))) for trial in told] == [
        (TrialState.PRUNED, 3.0),
        (TrialState.PRUNED, 1.0),
    ]
    assert outcome.best == 1.0


def test_a_paused_trial_goes_on_where_it_was_and_an_idle_group_waits_for_it() -> None:
    class PauseOnce:
        """Pauses trial 0 at its first report; a group may have it again when trial 1 has reported twice."""

        def __init__(self, *arguments: Any) -> None:
            self.new, self.paused, self.reports = [1, 0], False, 0

        def suggest(self) -> tuple[int, dict[str, float]] | None:
            if self.new:
                number = self.new.pop()
                return number, {"x": number + 1.0}
            if self.paused and self.reports >= 2:
                self.paused = False
                return 0, {"x": 1.0}
            return None

        def report(self, report: dict[str, Any]) -> bool:
            self.reports += report["number"] == 1
            if report["number"] == 0 and report["step"] == 1:
                self.paused = True
                return False
            return not report["last"]

    outcome = Simulation(level, 2, 0, setting=setting(), make=PauseOnce, costs=by_x()).run()
    assert [(event.time, event.group, event.number, event.kimg) for event in outcome.events] == [
        (11, 0, 0, 1), (12, 1, 1, 1), (14, 1, 1, 2), (16, 0, 0, 2), (16, 1, 1, 3), (17, 0, 0, 3), (18, 0, 0, 4), (18, 1, 1, 4),
    ]  # fmt: skip
    assert outcome.handed_over == 3


@pytest.mark.parametrize("workers", [1, 6])
def test_the_same_seed_gives_the_same_sweep(workers: int) -> None:
    def run(seed: int) -> Outcome:
        curves, one, costs = made_up(0, trainings=4)
        return Simulation(curves, workers, seed, setting=one, costs=costs).run()

    first, again, other = run(3), run(3), run(4)
    assert first == again
    assert first.configs != other.configs
    assert len(first.configs) > 10, "past the sampler's start-up"


def test_what_cannot_be_simulated_is_refused() -> None:
    with pytest.raises(ValueError, match=r"workers >= 1 must hold, but got 0"):
        Simulation(level, 0, 0, setting=setting())
    with pytest.raises(ValueError, match=r"curves must reach 9 kimg, but one ends at 4"):
        Simulation(level, 1, 0, setting=setting(kimg=9)).run()


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "search.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("print(", "shown = ("), names)
    best, time, trials = names["shown"]
    assert best < 6
    assert time < 45
    assert trials > 20
