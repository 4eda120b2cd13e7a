"""Other people's searchers and schedulers, driven over curves."""

from __future__ import annotations

import math

import pytest

from tests.tuner.simulate.cases import SPACE, by_x, level, setting
from tuner.simulate import Outcome, Simulation
from tuner.simulate.baselines import BASELINES, TopK, ray_asha_random
from tuner.simulate.synthetic import made_up


def whole(outcome: Outcome, kimg: float) -> set[int]:
    """Numbers of the trials that were trained to their ends."""
    return {event.number for event in outcome.events if event.kimg == kimg}


@pytest.mark.parametrize("name", BASELINES)
class TestAll:
    def test_the_same_seed_gives_the_same_sweep(self, name: str) -> None:
        def run(seed: int) -> Outcome:
            curves, one, costs = made_up(1, trainings=4)
            return Simulation(curves, 3, seed, setting=one, make=BASELINES[name], costs=costs).run()

        assert run(0) == run(0)
        assert run(0).configs != run(1).configs

    def test_it_spends_its_budget_on_configurations_of_the_space(self, name: str) -> None:
        curves, one, costs = made_up(2, trainings=6)
        outcome = Simulation(curves, 4, 0, setting=one, make=BASELINES[name], costs=costs).run()
        assert outcome.kimg == one.total_kimg or name == "random, top K"
        assert outcome.kimg <= one.total_kimg
        for config in outcome.configs.values():
            one.space.params_of(config)  # raises where it is none of the space
        stopped = len(outcome.configs) - len(whole(outcome, one.kimg))
        assert (stopped <= 4) == (name == "random, no stopping")  # whoever was in flight when the budget ended

    def test_training_that_fails_ends_a_trial(self, name: str) -> None:
        def curves(config: dict[str, float], seed: int):  # type: ignore[no-untyped-def]
            scores, kimg = level(config, seed)
            scores[1:] = math.nan
            return scores, kimg

        outcome = Simulation(curves, 2, 0, setting=setting(total_kimg=60), make=BASELINES[name]).run()
        assert max(event.kimg for event in outcome.events) <= 2
        assert len(outcome.configs) >= 10


def test_asha_stops_below_the_rung_s_percentile() -> None:
    method = ray_asha_random(setting(), 0, lambda: 0.0)
    for _ in range(3):
        method.suggest()

    def goes_on(number: int, score: float) -> bool:
        return method.report({"number": number, "score": score, "kimg": 1.0, "step": 1, "problem": None, "last": False})

    assert [goes_on(0, 3.0), goes_on(1, 5.0), goes_on(2, 1.0)] == [True, False, True]


def test_top_k_takes_up_the_best_of_the_rung() -> None:
    told = setting(total_kimg=24)  # 12 trials to the rung of 1 kimg, 4 of them for 3 kimg more
    outcome = Simulation(level, 3, 0, setting=told, make=TopK, costs=by_x()).run()
    scores = {number: config["x"] for number, config in outcome.configs.items()}
    assert len(scores) == 12
    assert whole(outcome, 4) == set(sorted(scores, key=lambda number: scores[number])[:4])
    assert outcome.kimg == 24
    assert all(value in SPACE.branches("x")[0][1] for value in scores.values())
