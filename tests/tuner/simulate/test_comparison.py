"""Rows of the table: medians that know "never", ratios, and one run for all methods."""

from __future__ import annotations

import math

import pytest

from tests.tuner.simulate.cases import by_x, level, setting
from tuner.simulate.baselines import random_search
from tuner.simulate.cases import Case
from tuner.simulate.comparison import OURS, Row, compare, faster, quartiles
from tuner.simulate.methods import Ours


def test_never_is_a_time_like_others() -> None:
    assert quartiles([3, 1, 2]) == (1.5, 2.0, 2.5)
    assert quartiles([1, math.inf, math.inf, 2, math.inf]) == (2.0, math.inf, math.inf)
    assert quartiles([5]) == (5, 5, 5)


def test_how_many_times_faster() -> None:
    never, slow, fast = (Row(name, times=times) for name, times in (("n", [math.inf]), ("s", [60.0]), ("f", [20.0])))
    assert faster(fast, slow) == 3.0
    assert faster(fast, never) == math.inf
    assert faster(never, fast) == 0.0
    assert math.isnan(faster(never, never))


def test_every_method_is_run_on_the_same_seeds() -> None:
    case, told = Case(level, setting(total_kimg=40), by_x(), target=2.0), list[tuple[int, int]]()
    rows = compare(lambda seed: case, {OURS: Ours, "random, no stopping": random_search}, 2, 3, lambda *done: told.append(done))
    assert told == [(done, 6) for done in range(1, 7)]
    assert [row["method"] for row in rows] == [OURS, "random, no stopping"]
    ours, random = rows
    assert len(random["by_seed"]["best"]) == 3
    assert random["trials"] in (10, 11)
    assert random["times_faster_than"] == {"random, no stopping": 1.0}
    medians = [row["time_to_target"][1] for row in rows]
    assert ours["times_faster_than"]["random, no stopping"] == pytest.approx(medians[1] / medians[0], rel=1e-3)
