"""Successive halving worked by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from trainables.metrics import AnyMetric, parse_any_metric
from tuner.schedulers import SuccessiveHalving
from tuner.schedulers.successive_halving import SuccessiveHalvingOptions

FID = parse_any_metric("fid[efficientnet_lite0,64px,n=32]")


def halving(max_kimg: float = 9, grace: float = 1, factor: float = 3, metric: AnyMetric = FID) -> SuccessiveHalving:
    return SuccessiveHalving(SuccessiveHalvingOptions(grace_kimg=grace, reduction_factor=factor), max_kimg, metric)


@pytest.mark.parametrize(
    ("max_kimg", "grace", "factor", "rungs"),
    [
        (9, 1, 3, [1, 3]),  # at 9 the trial ends by itself
        (9.01, 1, 3, [1, 3, 9]),
        (4.5, 0.5, 3, [0.5, 1.5]),
        (16, 1, 2, [1, 2, 4, 8]),
        (0.3, 0.1, 3, [0.1]),  # 0.1 * 3 is a little more than 0.3 in floating point: it is the end, not a rung
        (1, 2, 3, []),
    ],
)
def test_rungs(max_kimg: float, grace: float, factor: float, rungs: list[float]) -> None:
    assert [rung for rung, _ in halving(max_kimg, grace, factor).rungs] == pytest.approx(rungs)


def test_worked_by_hand() -> None:
    """η = 3, rungs at 1 and 3 kimg. At a rung with n trials so far, the best max(1, ⌊n/3⌋) go on."""
    rule = halving()
    table = [
        # trial, kimg, best FID, place among those at the rung so far, goes on
        (0, 1, 100.0, True),  # 1st of 1
        (1, 1, 120.0, False),  # 2nd of 2
        (2, 1, 90.0, True),  # 1st of 3: 90 100 120
        (0, 3, 80.0, True),  # 1st of 1 at 3 kimg
        (3, 1, 95.0, False),  # 2nd of 4: 90 95 100 120, one goes on
        (4, 1, 91.0, False),  # 2nd of 5
        (5, 1, 92.0, False),  # 3rd of 6, two go on
        (6, 1, 90.5, True),  # 2nd of 7, two go on
        (2, 3, 85.0, False),  # 2nd of 2 at 3 kimg
        (6, 3, 70.0, True),  # 1st of 3 at 3 kimg
        (0, 5, 60.0, True),  # beyond the last rung
    ]
    for number, kimg, fid, goes_on in table:
        assert (rule.decide(number, kimg, fid) is None) == goes_on, (number, kimg)
    assert rule.rungs == [(1, {0: 100, 1: 120, 2: 90, 3: 95, 4: 91, 5: 92, 6: 90.5}), (3, {0: 80, 2: 85, 6: 70})]


def test_reasons_are_readable() -> None:
    rule = halving(grace=0.5)
    rule.decide(0, 0.5, 100)
    assert rule.decide(1, 0.512, 123.456) == "best FID 123.5 is 2nd of 2 trials at the rung of 0.5 kimg; the best 1 goes on"
    for number in range(2, 12):
        rule.decide(number, 0.5, 100 + number)
    # The 13th trial here: 4 go on, and it is behind all.
    assert rule.decide(12, 0.5, 999) == "best FID 999.0 is 13th of 13 trials at the rung of 0.5 kimg; the best 4 go on"


def test_a_metric_of_which_more_is_better_is_shown_as_it_is() -> None:
    rule = halving(metric=parse_any_metric("psnr[n=8]"))
    assert rule.decide(0, 1, -24.5) is None
    assert rule.decide(1, 1, -21.25) == "best PSNR 21.2 is 2nd of 2 trials at the rung of 1 kimg; the best 1 goes on"


def test_the_first_at_a_rung_goes_on_however_bad() -> None:
    assert halving().decide(0, 1, 1e9) is None


def test_ties_share_a_place() -> None:
    rule = halving(factor=2)
    assert rule.decide(0, 1, 50) is None
    assert rule.decide(1, 1, 50) is None
    assert rule.decide(2, 1, 51) is not None


def test_before_the_grace_period_nothing_is_compared() -> None:
    rule = halving()
    rule.decide(0, 1, 10)
    assert rule.decide(1, 0.99, 1e6) is None
    assert rule.rungs[0][1] == {0: 10}


def test_a_rung_between_two_evaluations_counts_at_the_next() -> None:
    rule = halving()
    rule.decide(0, 1.4, 10)
    rule.decide(0, 2.8, 8)
    assert rule.decide(0, 4.2, 5) is None
    assert rule.rungs == [(1, {0: 10}), (3, {0: 5})]


def test_a_report_beyond_several_rungs_is_judged_at_each() -> None:
    rule = halving(max_kimg=100)
    rule.decide(0, 1, 10)
    assert rule.decide(1, 30, 5) is None
    assert [sorted(values) for _, values in rule.rungs] == [[0, 1], [1], [1], [1], []]


def test_a_verdict_waits_for_nobody_and_never_changes() -> None:
    """Asynchronous: a trial is judged by those before it alone; whoever comes later changes nothing."""
    fids = [100, 90, 95, 80, 85, 70, 99, 60]

    def verdicts(count: int) -> list[bool]:
        rule = halving()
        return [rule.decide(number, 1, fid) is None for number, fid in enumerate(fids[:count])]

    whole = verdicts(len(fids))
    for count in range(len(fids)):
        assert verdicts(count) == whole[:count]
    assert whole == [True, True, False, True, False, True, False, True]


def test_asked_again_it_says_the_same() -> None:
    # A killed driver's trial goes on from its checkpoint, which reports the step once more.
    rule = halving()
    assert rule.decide(0, 1, 100) is None
    reason = rule.decide(1, 1, 110)
    assert reason is not None
    for number in range(2, 6):
        rule.decide(number, 1, 10 + number)
    assert rule.decide(0, 1, 100) is None
    assert rule.decide(1, 1, 110) == reason
    again = halving()
    again.restore(json.loads(json.dumps(rule.state())))
    assert again.decide(0, 1, 100) is None
    assert again.decide(1, 1, 110) == reason
    assert again.decide(1, 1.5, 1) == reason


def test_a_longer_budget_keeps_the_rungs_that_are_left() -> None:
    short = halving(max_kimg=9)
    short.decide(0, 1, 100)
    short.decide(0, 3, 90)
    longer = halving(max_kimg=20)
    longer.restore(short.state())
    assert longer.rungs == [(1, {0: 100}), (3, {0: 90}), (9, {})]
    other = halving(max_kimg=20, grace=2)
    other.restore([])  # what `none` leaves
    other.restore(short.state())
    assert other.rungs == [(2, {}), (6, {}), (18, {})]


@pytest.mark.parametrize("options", [{}, {"grace_kimg": 0}, {"grace_kimg": 1, "reduction_factor": 1}, {"grace_kimg": math.inf}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SuccessiveHalvingOptions(**options)
