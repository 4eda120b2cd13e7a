from __future__ import annotations

import pytest

from trainables.metrics.budget import FEWEST_EVALUATIONS, MOST_EVALUATIONS, Measurement, choose_evaluation, measure_evaluation


def measured(training: float = 10.0, image: float = 0.01, fixed: float = 0.5) -> Measurement:
    return Measurement(training_seconds_per_kimg=training, evaluation_seconds_per_image=image, evaluation_seconds_fixed=fixed)


@pytest.mark.parametrize("training", [1.0, 3.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("budget", [0.02, 0.1, 0.5])
def test_the_plan_keeps_its_budget_and_its_bounds(training: float, budget: float) -> None:
    plan = choose_evaluation(measured(training), kimg=50, budget=budget)
    count = 50 / plan.every_kimg
    assert FEWEST_EVALUATIONS - 1e-9 <= count <= MOST_EVALUATIONS + 1e-9
    assert plan.share == pytest.approx(count * measured(training).evaluation_seconds(plan.n) / (training * 50))
    assert plan.within_budget == (plan.share <= budget + 1e-9)


def test_a_larger_budget_never_gives_fewer_images() -> None:
    chosen = [choose_evaluation(measured(), kimg=50, budget=b / 100).n for b in range(1, 101)]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[-1]


def test_the_explanation_says_what_was_chosen() -> None:
    plan = choose_evaluation(measured(), kimg=100)
    assert f"n={plan.n} images every {plan.every_kimg:g} kimg" in plan.explanation
    assert "budget 10%" in plan.explanation
    hopeless = choose_evaluation(measured(training=0.1), kimg=10)
    assert not hopeless.within_budget
    assert "over budget" in hopeless.explanation
    few = choose_evaluation(measured(), kimg=33, budget=0.1, n_choices=(100, 5000))
    assert "values will be noisy" in few.explanation


def test_times_are_taken_apart() -> None:
    assert measure_evaluation([(100, 1.5), (500, 5.5)]) == pytest.approx((0.01, 0.5))
    assert measure_evaluation([(100, 0.9), (500, 5.5)])[1] == 0
    with pytest.raises(ValueError, match="different n"):
        measure_evaluation([(100, 1.0), (100, 1.1)])
    with pytest.raises(ValueError, match="took no longer"):
        measure_evaluation([(100, 1.0), (200, 0.9)])


def test_impossible_input() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        measured(training=0)
    with pytest.raises(ValueError, match="budget <= 1"):
        choose_evaluation(measured(), kimg=1, budget=2)
