"""One trial as data: how it stands, what it reported, and the header of it that is kept on disk."""

from __future__ import annotations

import contextlib
import copy
import enum
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tuner.records.files import DamagedError, load_json, unseal


class State(enum.StrEnum):
    """Where a trial is. Only RUNNING trials go on when a sweep is resumed."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # early, by the scheduler or the budget
    FAILED = "failed"  # not finite, or an exception


class Fault(enum.StrEnum):
    """What was at fault when a trial did not reach its end."""

    INFRASTRUCTURE = "infrastructure"  # a process, node or storage that went away: says nothing of the configuration
    CONFIGURATION = "configuration"  # out of memory, an exception in the trial: would fail again
    TRAINING = "training"  # not finite, saturated, collapsed: a region to avoid


@dataclass(slots=True)
class TrialRecord:
    """One trial, named by its Optuna number."""

    number: int
    values: dict[str, Any]  # dotted path → what was searched
    state: State = State.RUNNING
    reason: str = ""  # why it ended, or what goes on
    reports: list[dict[str, Any]] = field(default_factory=list)  # of distinct steps, increasing
    seconds_to_first_step: float = math.nan
    fault: Fault | None = None
    attempts: int = 0  # that infrastructure failed since the last report
    worker_seconds: float = field(default=0.0, init=False, repr=False, compare=False)  # training and evaluating, on each worker
    _whole: int = field(default=0, init=False, repr=False, compare=False)  # reports in the journal
    _size: int = field(default=0, init=False, repr=False, compare=False)  # the journal's bytes
    _changed: Callable[[TrialRecord], None] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.worker_seconds = sum((seconds(report) for report in self.reports), 0.0)

    @property
    def kimg(self) -> float:
        """Thousand images the trial has been trained on, at its last report."""
        return self.reports[-1]["kimg"] if self.reports else 0.0

    @property
    def score_best(self) -> float:
        """Lowest score so far (`trainables.metrics.score` of the driving metric); infinity before the first evaluation."""
        return self.reports[-1]["score_best"] if self.reports else math.inf

    def add(self, report: dict[str, Any]) -> bool:
        """Takes in a report unless its step is known already; returns whether it was new. `RecordBook.save` writes it."""
        if self.knows(report):
            return False
        self.take(lean(report), report["seconds_to_first_step"])
        return True

    def knows(self, report: dict[str, Any]) -> bool:
        """Whether a report's step, or a later one, has been reported."""
        return bool(self.reports) and report["step"] <= self.reports[-1]["step"]

    def take(self, kept: dict[str, Any], seconds_to_first_step: float) -> None:
        """Takes in what is kept of a report whose step is new."""
        if not self.reports:
            self.seconds_to_first_step = seconds_to_first_step
        self.reports.append(kept)
        self.worker_seconds += seconds(kept)
        self.attempts = 0
        if self._changed is not None:
            self._changed(self)

    def snapshot(self) -> TrialRecord:
        """The record as it is now, with its last report only: for other threads, which see no later change."""
        taken = copy.copy(self)
        taken.reports, taken._changed = self.reports[-1:], None
        return taken


_KEPT = (
    "step", "kimg", "score", "score_best", "metrics", "losses", "problem", "seconds_training", "seconds_evaluating",
    "source_share",
)  # fmt: skip


def lean(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a report; the names of metrics and losses, alike in all, are in memory once."""
    kept = {key: report[key] for key in _KEPT if key in report}
    for key in ("metrics", "losses"):
        if key in kept:
            kept[key] = {sys.intern(name): value for name, value in kept[key].items()}
    return kept


def seconds(report: dict[str, Any]) -> float:
    """What the interval before a report took, training and evaluating."""
    return report["seconds_training"] + report.get("seconds_evaluating", 0.0)


def header(record: TrialRecord) -> dict[str, Any]:
    """What ``record.json`` says of a record: all but its reports, of which it counts those that are in the journal by then."""
    known = not math.isnan(record.seconds_to_first_step)
    return {
        "number": record.number,
        "values": record.values,
        "state": record.state,
        "reason": record.reason,
        "seconds_to_first_step": record.seconds_to_first_step if known else None,
        "fault": record.fault,
        "attempts": record.attempts,
        "reported": len(record.reports),
    }


def parse(raw: bytes) -> tuple[TrialRecord, int]:
    """A record from its ``record.json``, without its reports, and how many of them the journal must have at least.

    A file of before the journal holds the reports, and so does the record then. DamagedError when it is neither.
    """
    try:
        data = unseal(raw)
    except DamagedError:
        with contextlib.suppress(DamagedError):
            if "reports" in (old := load_json(raw)):
                return _parse_old(old), 0
        raise
    try:
        record = TrialRecord(
            number=data["number"],
            values=data["values"],
            state=State(data["state"]),
            reason=data["reason"],
            seconds_to_first_step=math.nan if data["seconds_to_first_step"] is None else data["seconds_to_first_step"],
            fault=data["fault"] and Fault(data["fault"]),
            attempts=data["attempts"],
        )
        return record, data["reported"]
    except (KeyError, ValueError) as error:
        raise DamagedError(f"is not of this version of gansweep ({error!r})") from None


def _parse_old(data: dict[str, Any]) -> TrialRecord:
    try:
        record = TrialRecord(**data | {"state": State(data["state"]), "reports": [lean(report) for report in data["reports"]]})
        for report in record.reports:
            report["step"], report["kimg"], report["score_best"]  # what everything relies on
        return record
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"is damaged ({error!r})") from None
