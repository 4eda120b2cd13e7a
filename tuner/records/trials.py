"""What the sweep knows of its trials: one record each, the single truth behind leaderboard, tables and pictures.

Records live in the driver and are mirrored to ``trials/<number>/record.json`` at every change, so that a resumed sweep knows the
whole history of every trial.
"""

from __future__ import annotations

import enum
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from trainables.storage import Storage
from tuner.records.paths import trial_folder


class State(enum.StrEnum):
    """Where a trial is. Only RUNNING trials go on when a sweep is resumed."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"  # early, by the scheduler or the budget
    FAILED = "failed"  # not finite, or an exception


@dataclass
class TrialRecord:
    """One trial, named by its Optuna number."""

    number: int
    values: dict[str, Any]  # dotted path → what was searched
    state: State = State.RUNNING
    reason: str = ""  # why it ended, or what goes on
    reports: list[dict[str, Any]] = field(default_factory=list)  # of distinct steps, increasing
    seconds_to_first_step: float = math.nan

    @property
    def kimg(self) -> float:
        """Thousand images the trial has been trained on, at its last report."""
        return self.reports[-1]["kimg"] if self.reports else 0.0

    @property
    def score_best(self) -> float:
        """Lowest score so far (`trainables.metrics.score` of the driving metric); infinity before the first evaluation."""
        return self.reports[-1]["score_best"] if self.reports else math.inf

    @property
    def worker_seconds(self) -> float:
        """Seconds spent training and evaluating, on each worker."""
        return sum(r["seconds_training"] + r.get("seconds_evaluating", 0.0) for r in self.reports)

    def add(self, report: dict[str, Any]) -> bool:
        """Takes in a report unless its step is known already; returns whether it was new."""
        if report["resumed"] and self.reports and report["step"] <= self.reports[-1]["step"]:
            return False
        self.reports.append({key: report[key] for key in _KEPT if key in report})
        if len(self.reports) == 1:
            self.seconds_to_first_step = report["seconds_to_first_step"]
        return True


_KEPT = (
    "step", "kimg", "score", "score_best", "metrics", "losses", "problem", "seconds_training", "seconds_evaluating",
)  # fmt: skip


class RecordBook:
    """All records of a sweep, by number."""

    def __init__(self, trials: Storage) -> None:
        self._trials = trials
        self._records: dict[int, TrialRecord] = {}
        for folder in trials.list():
            if trials.exists(f"{folder}/record.json"):
                data = json.loads(trials.read_bytes(f"{folder}/record.json"))
                record = TrialRecord(**data | {"state": State(data["state"])})
                self._records[record.number] = record

    def __getitem__(self, number: int) -> TrialRecord:
        return self._records[number]

    def __contains__(self, number: int) -> bool:
        return number in self._records

    def __len__(self) -> int:
        return len(self._records)

    def all(self) -> list[TrialRecord]:
        """Every record, by number."""
        return [self._records[number] for number in sorted(self._records)]

    def ranking(self) -> list[TrialRecord]:
        """Trials with at least one finite score, best first; a failed trial's earlier checkpoints count."""
        return sorted((r for r in self.all() if math.isfinite(r.score_best)), key=lambda r: (r.score_best, r.number))

    def unfinished(self) -> list[int]:
        """Numbers of trials that a resumed sweep will take up again."""
        return [record.number for record in self.all() if record.state == State.RUNNING]

    def open(self, number: int, values: dict[str, Any]) -> TrialRecord:
        """The record of a trial that starts, or goes on where it was left."""
        record = self._records.setdefault(number, TrialRecord(number, values))
        record.state, record.reason = State.RUNNING, ""
        self.save(number)
        return record

    def end(self, number: int, state: State, reason: str) -> None:
        """Closes a record; the first reason given stands."""
        record = self._records[number]
        if record.state == State.RUNNING:
            record.state, record.reason = state, reason
            self.save(number)

    def save(self, number: int) -> None:
        """Mirrors a record to the storage."""
        data = json.dumps(asdict(self._records[number]), indent=1)
        self._trials.write_bytes(f"{trial_folder(number)}/record.json", data.encode())
