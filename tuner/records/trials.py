"""What the sweep knows of its trials: one record each, the single truth behind leaderboard, tables and pictures.

Records live in the driver. ``trials/<number>/record.json`` holds how a trial stands and is written when that changes;
``trials/<number>/reports.jsonl`` gets a line for each report before its verdict is given. So a resumed sweep knows the whole
history of every trial, and what a report costs does not grow with it.

Every method that writes may be called again after an OSError: memory changes only after the file has.
"""

from __future__ import annotations

import bisect
import copy
import itertools
import math
import threading
import warnings
from typing import Any

from trainables.storage import Storage
from tuner.records.files import HEADER, REPORTS, DamagedError, Journal, append, seal, size_of
from tuner.records.paths import trial_folder
from tuner.records.record import Fault, State, TrialRecord, header, lean, parse, seconds

__all__ = ["Fault", "RecordBook", "State", "TrialRecord"]


class RecordBook:
    """All records of a sweep, by number.

    Args:
        trials: the folder of all trials; local or a shared mount, as reports are appended to files.

    Raises:
        ValueError: files are damaged, each of which is named, and what they said cannot be had otherwise. A damaged
            ``record.json`` alone is warned of: see `unknown`.
    """

    def __init__(self, trials: Storage) -> None:
        if trials.local is None:
            raise ValueError(f"a sweep's storage must be a local or shared folder, but got {trials.root}")
        self._trials, self._folder = trials, trials.local
        self.unknown: dict[int, str] = {}  # what is wrong with a trial's record.json, until it is opened or restored
        self._records: dict[int, TrialRecord] = {}  # by number, increasing
        self._order: list[tuple[float, int]] = []  # (best score, number) of trials that have one, best first
        self._placed: dict[int, float] = {}  # number → best score, as it stands in _order
        self._running: dict[int, None] = {}
        self.counts = dict.fromkeys(State, 0)  # trials in each state
        self._lock = threading.RLock()  # of the four above: the display reads them from a thread of its own
        problems: list[str] = []
        for number in sorted(int(name) for name in trials.list() if name.isdecimal()):
            try:
                record = self._read(number)
            except DamagedError as error:
                problems.append(str(error))
            else:
                if record is not None:
                    self._insert(record)
        if problems:
            remedy = f"put back a copy, or delete {HEADER} and {REPORTS} of that trial, and the sweep forgets what it reported"
            raise ValueError("\n".join([f"damaged records of trials ({remedy}):", *problems]))

    def __getitem__(self, number: int) -> TrialRecord:
        return self._records[number]

    def __contains__(self, number: int) -> bool:
        return number in self._records

    def __len__(self) -> int:
        return len(self._records)

    def all(self) -> list[TrialRecord]:
        """Every record, by number."""
        with self._lock:
            return list(self._records.values())

    def ranking(self) -> list[TrialRecord]:
        """Trials with at least one finite score, best first; a failed trial's earlier checkpoints count."""
        with self._lock:
            return [self._records[number] for _, number in self._order]

    def unranked(self) -> list[TrialRecord]:
        """Trials without a finite score, by number."""
        with self._lock:
            return [record for number, record in self._records.items() if number not in self._placed]

    def first(self, limit: int) -> list[TrialRecord]:
        """The first ``limit`` trials: of the ranking, then of the others."""
        with self._lock:
            best = [self._records[number] for _, number in self._order[:limit]]
            others = (record for number, record in self._records.items() if number not in self._placed)
            return [*best, *itertools.islice(others, limit - len(best))]

    def unfinished(self) -> list[int]:
        """Numbers of trials that a resumed sweep will take up again."""
        with self._lock:
            return sorted(self._running)

    def open(self, number: int, values: dict[str, Any]) -> TrialRecord:
        """The record of a trial that starts, or goes on where it was left."""
        return self._set(number, values, state=State.RUNNING, reason="", fault=None)

    def reopen(self, number: int) -> TrialRecord:
        """The record of a trial that ended and is tried again, from its checkpoint: as if infrastructure had never failed."""
        return self._set(number, state=State.RUNNING, reason="", fault=None, attempts=0)

    def report(self, report: dict[str, Any]) -> bool:
        """Takes in a report and writes it, unless its step is known already; returns whether it was new."""
        record = self._records[report["number"]]
        if record.knows(report):
            return False
        kept = lean(report)
        self._append(record, kept, report["seconds_to_first_step"])
        record.take(kept, report["seconds_to_first_step"])
        return True

    def attempt(self, number: int) -> int:
        """Notes that infrastructure failed under a trial; returns how often it has since the trial's last report."""
        return self._set(number, attempts=self._records[number].attempts + 1).attempts

    def end(self, number: int, state: State, reason: str, fault: Fault | None = None) -> None:
        """Closes a record; the first reason given stands."""
        if self._records[number].state == State.RUNNING:
            self._set(number, state=state, reason=reason, fault=fault)

    def restore(self, number: int, values: dict[str, Any], state: State, reason: str, fault: Fault | None = None) -> TrialRecord:
        """The record of a trial that is `unknown`, from what the searcher's journal says of it; its reports are still there."""
        return self._set(number, values, state=state, reason=reason, fault=fault)

    def save(self, number: int) -> None:
        """Writes a record's files."""
        self._set(number)

    def _set(self, number: int, values: dict[str, Any] | None = None, **changes: Any) -> TrialRecord:
        """Writes a record as it will be, then changes it. ``values`` are those of a trial that is not known."""
        record = self._records.get(number)
        if record is None:
            if values is None:
                raise KeyError(number)
            record = TrialRecord(number, values)
            if number in self.unknown:
                self._recall(record, self._journal(number))
        self._append(record)
        changed = copy.copy(record)
        for name, value in changes.items():
            setattr(changed, name, value)
        self._trials.write_bytes(f"{trial_folder(number)}/{HEADER}", seal(header(changed), indent=1))
        with self._lock:
            if number in self._records:
                self._count(record, -1)
            for name, value in changes.items():
                setattr(record, name, value)
            self._insert(record)
        self.unknown.pop(number, None)
        return record

    def _append(self, record: TrialRecord, new: dict[str, Any] | None = None, seconds_to_first_step: float = math.nan) -> None:
        """Appends to the journal what it lacks, and ``new``."""
        path, whole, size = self._folder / trial_folder(record.number) / REPORTS, record._whole, record._size
        if size_of(path) < size:
            whole = size = 0  # somebody has cut it: it is written anew
        reports = [*record.reports[whole:], *([new] if new else [])]
        if not reports:
            return
        lines: list[dict[str, Any]] = [{"number": record.number, "report": report} for report in reports]
        if not whole:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines[0]["seconds_to_first_step"] = record.seconds_to_first_step if record.reports else seconds_to_first_step
        record._size = append(path, size, b"".join(seal(line) for line in lines))
        record._whole = whole + len(lines)

    def _read(self, number: int) -> TrialRecord | None:
        """A trial's record from its files; None when it is `unknown`, or nothing of it is there."""
        journal = self._journal(number)
        path = self._folder / trial_folder(number) / HEADER
        try:
            if not path.exists():  # somebody has the sweep forget the trial, or its searcher has not opened it yet
                if journal.lines:
                    self.unknown[number] = f"{path} is missing"
                return None
            record, reported = parse(path.read_bytes())
        except DamagedError as error:
            self.unknown[number] = f"{path} {error}"
            told = f"{path} {error}: trial {number} is left out until the sweep takes it up again"
            warnings.warn(told, RuntimeWarning, stacklevel=3)
            return None
        if record.number != number:
            raise DamagedError(f"{path} is the record of trial {record.number}, not of trial {number}")
        if len(journal.lines) < reported:
            raise DamagedError(f"{path.with_name(REPORTS)} was cut: it has {len(journal.lines)} of {reported} reports")
        if len(journal.lines) > reported:
            record.attempts = 0
        self._recall(record, journal)
        return record

    def _journal(self, number: int) -> Journal:
        path = self._folder / trial_folder(number) / REPORTS
        try:
            journal = Journal.read(path)
        except DamagedError as error:
            raise DamagedError(f"{path} {error}") from None
        for line in journal.lines:
            if line.get("number") != number or not isinstance(line.get("report"), dict):
                raise DamagedError(f"{path} holds reports of trial {line.get('number')}, not of trial {number}")
        return journal

    @staticmethod
    def _recall(record: TrialRecord, journal: Journal) -> None:
        """Gives a record the reports of its journal, unless it has more of its own (it was written when there was no journal)."""
        record._whole, record._size = journal.whole, journal.size
        if len(journal.lines) >= len(record.reports) and journal.lines:
            record.reports = [lean(line["report"]) for line in journal.lines]
            record.seconds_to_first_step = journal.lines[0]["seconds_to_first_step"]
            record.worker_seconds = sum((seconds(report) for report in record.reports), 0.0)

    def _insert(self, record: TrialRecord) -> None:
        with self._lock:
            if record.number not in self._records:
                last = next(reversed(self._records), -1)
                self._records[record.number] = record
                record._changed = self._place
                if record.number < last:
                    self._records = dict(sorted(self._records.items()))
            self._count(record, 1)
            self._place(record)

    def _count(self, record: TrialRecord, change: int) -> None:
        self.counts[record.state] += change
        if record.state == State.RUNNING and change > 0:
            self._running[record.number] = None
        else:
            self._running.pop(record.number, None)

    def _place(self, record: TrialRecord) -> None:
        """Puts a record where its best score belongs in the ranking."""
        number, best, placed = record.number, record.score_best, self._placed.get(record.number)
        if best == placed or (placed is None and not math.isfinite(best)):
            return
        with self._lock:
            if placed is not None:
                del self._order[bisect.bisect_left(self._order, (placed, number))]
                del self._placed[number]
            if math.isfinite(best):
                bisect.insort(self._order, (best, number))
                self._placed[number] = best
