"""Tune's side of every scheduling rule: it notes each report, guards trials against divergence and the wall time, asks the rule.

A verdict is given when what it rests on is on disk, in this order: the report, the rule's state, the trial's end. A driver that
is killed between any two of them goes on from the trial's checkpoint, whose report is judged alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuner.engine.failures import Failures
from tuner.engine.patience import Patience
from tuner.engine.ray_internals import drop_idle_actors, keep_actors
from tuner.engine.unsaved import Unsaved
from tuner.records.files import Journal, append, seal
from tuner.records.paths import SweepPaths
from tuner.records.trials import Fault, RecordBook, State, TrialRecord
from tuner.schedulers.verdict import Verdict, verdict

_REMEDY = "put back a copy, or delete it, and the scheduler starts without its rungs"


class RuleState:
    """A rule's entries in the sweep's folder, in a file that only grows: a verdict's cost does not grow with the sweep.

    Raises:
        ValueError: the file is damaged elsewhere than at its end.
    """

    def __init__(self, file: Path, rule: Any) -> None:
        self._file, self._rule = file, rule
        try:
            journal = Journal.read(file)
        except ValueError as error:
            raise ValueError(f"{file} {error}: {_REMEDY}") from None
        self._size = journal.size
        # A last line that lacks but its newline is written again.
        rule.restore([line["entry"] for line in journal.lines])
        self._written = journal.whole

    def check(self, records: RecordBook) -> None:
        """Raises ValueError when the file was cut or emptied: it knows nothing of trials that the rule has stopped."""
        lost = self._rule.forgot(record.number for record in records.all() if record.state == State.STOPPED)
        if lost and self._file.exists():
            named = ", ".join(map(str, lost))
            raise ValueError(f"{self._file} was cut: it knows nothing of trials that it stopped ({named}): {_REMEDY}")

    def save(self) -> None:
        """Appends what the rule has added. May be called again after an OSError."""
        new = self._rule.state()[self._written :]
        if new:
            self._size = append(self._file, self._size, b"".join(seal({"entry": entry}) for entry in new))
            self._written += len(new)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a scheduler works with beside its rule."""

    paths: SweepPaths
    records: RecordBook
    patience: Patience
    failures: Failures
    reported: Callable[[TrialRecord], None]  # told of each new report
    exhausted: Callable[[], bool]  # whether there is nothing to propose now


class SweepScheduler(Unsaved, FIFOScheduler):
    """Guards every trial against divergence and the wall time, then asks the rule from SCHEDULERS.

    Args:
        rule: an instance of an entry of SCHEDULERS.
        deadline: `time.time()` at which trials stop at their next report, to go on when the sweep is resumed; None for no limit.
        keep_warm: how many worker groups Tune should keep between trials.
    """

    def __init__(self, rule: Any, surroundings: Surroundings, deadline: float | None, keep_warm: int) -> None:
        super().__init__()
        self.rule, self.sweep, self.deadline, self.keep_warm = rule, surroundings, deadline, keep_warm
        self.rule_state = RuleState(surroundings.paths.folder / surroundings.paths.SCHEDULER, rule)
        self.rule_state.check(surroundings.records)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tells Tune's actor cache to keep every group, not one: two trials that end at once would lose a warm group."""
        if self.keep_warm > 1:
            keep_actors(tune_controller, trial, self.keep_warm)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Gives idle groups back when there is nothing left for them, then leaves the choice to Tune."""
        if self.sweep.exhausted():
            drop_idle_actors(tune_controller)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """CONTINUE, or STOP with the reason in the trial's record; a record that stays RUNNING goes on later."""
        number, sweep = result["number"], self.sweep
        if "fault" in result:
            sweep.failures.happened(number, Fault(result["fault"]), result["failure"], result["nodes"])
            return TrialScheduler.STOP
        report = result["report"].data
        if waited := report.get("waited"):
            sweep.patience.say(f"trial {number} paused for {waited}")
        if self._noted(report):
            sweep.reported(sweep.records[number])
            # Not for one that a checkpoint repeats: whoever sends it may fail right after.
            sweep.failures.reported(number, result.get("nodes", ()))
        decided = verdict(self.rule, report, lambda: self.deadline is not None and time.time() > self.deadline)
        sweep.patience.insist(f"writing {sweep.paths.SCHEDULER}", self.rule_state.save)
        if decided.state != State.RUNNING:
            self._end(number, decided)
        return TrialScheduler.CONTINUE if decided.goes_on else TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """The Tune actor has gone, and its group with it."""
        # Not `trial.get_error()`, which reads what Tune will have uploaded later.
        file = Path(trial.error_file) if trial.error_file else None
        said = file.read_text(errors="replace") if file is not None and file.is_file() else ""
        self.sweep.failures.happened(trial.config["number"], Fault.INFRASTRUCTURE, _what_became_of_the_actor(said), ())

    def _noted(self, report: dict[str, Any]) -> bool:
        records = self.sweep.records
        return self.sweep.patience.insist(f"writing trial {report['number']}'s reports", lambda: records.report(report))

    def _end(self, number: int, decided: Verdict) -> None:
        end = self.sweep.records.end
        self.sweep.patience.insist(
            f"writing trial {number}'s record", lambda: end(number, decided.state, decided.reason, decided.fault)
        )


def _what_became_of_the_actor(said: str) -> str:
    """What Tune wrote of a failed actor, without the headings that it puts over each of several failures."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("Failure # ")]
    if not lines:
        return "its Tune actor died, and Ray does not say why"
    # Of a dead actor Ray says so in the first line; of an exception in it, it gives a traceback.
    head = "its Tune actor died: " if "actor" in lines[0] else "Traceback of its Tune actor:\n"
    return head + "\n".join(lines)
