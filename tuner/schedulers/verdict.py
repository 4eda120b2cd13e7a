"""What becomes of a trial at a report: first whether its training is sound, then its rule, then the sweep's time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tuner.records.trials import Fault, State


class Verdict(NamedTuple):
    """Whether a trial goes on now, and how it ended if it does not."""

    goes_on: bool
    state: State = State.RUNNING  # RUNNING with ``goes_on`` false: left where it is, to go on later
    reason: str = ""
    fault: Fault | None = None


def verdict(rule: Any, report: Mapping[str, Any], overdue: Callable[[], bool] = lambda: False) -> Verdict:
    """The verdict on a report.

    Args:
        rule: an instance of an entry of SCHEDULERS; asked unless the training went wrong, once for each report.
        report: ``number``, ``kimg``, ``score_best``, ``problem`` (None, or what is wrong), ``last`` (whether that was all).
        overdue: whether the sweep's time is used up.
    """
    # NaN passes every comparison as false, so the rule must never see it.
    sound = math.isfinite(report["score_best"])
    if problem := report["problem"] or (None if sound else f"its best score is {report['score_best']}"):
        return Verdict(False, State.FAILED, problem, Fault.TRAINING)
    reason = rule.decide(report["number"], report["kimg"], report["score_best"])
    if report["last"]:
        return Verdict(False, State.COMPLETE, "reached its budget of images")
    if reason is not None:
        return Verdict(False, State.STOPPED, reason)
    return Verdict(not overdue())
