"""Tune's side of every scheduling rule: it guards trials against divergence and the wall time, then asks the rule."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.storage import Storage
from tuner.engine.ray_internals import keep_actors
from tuner.engine.trial import failure_reason
from tuner.engine.unsaved import Unsaved
from tuner.records.trials import RecordBook, State

_FILE = "scheduler.json"


class SweepScheduler(Unsaved, FIFOScheduler):
    """Tune's side: guards every trial against divergence and the wall time, then asks the rule from SCHEDULERS.

    Args:
        rule: an instance of an entry of SCHEDULERS.
        storage: the sweep's folder, where the rule's state is kept.
        deadline: `time.time()` at which trials stop at their next report; None for no limit.
        keep_warm: how many worker groups Tune should keep between trials.
    """

    def __init__(self, rule: Any, records: RecordBook, storage: Storage, deadline: float | None, keep_warm: int) -> None:
        super().__init__()
        self.rule, self.records, self.storage, self.deadline, self.keep_warm = rule, records, storage, deadline, keep_warm
        if storage.exists(_FILE):
            rule.restore(json.loads(storage.read_bytes(_FILE)))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tells Tune's actor cache to keep every group, not one: two trials that end at once would lose a warm group."""
        if self.keep_warm > 1:
            keep_actors(tune_controller, trial, self.keep_warm)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """CONTINUE, or STOP with the reason in the trial's record."""
        number = result["number"]
        # NaN passes every comparison as false, so the rule must never see it.
        problem = result["problem"] or (
            None if math.isfinite(result["score_best"]) else f"its best score is {result['score_best']}"
        )
        if problem:
            self.records.end(number, State.FAILED, problem)
            return TrialScheduler.STOP
        reason = self.rule.decide(number, result["kimg"], result["score_best"])
        self.storage.write_bytes(_FILE, json.dumps(self.rule.state()).encode())
        if result["last"]:
            self.records.end(number, State.COMPLETE, "reached its budget of images")
            return TrialScheduler.STOP
        if reason is None and self.deadline is not None and time.time() > self.deadline:
            reason = "the sweep's wall time is used up"
        if reason is None:
            return TrialScheduler.CONTINUE
        self.records.end(number, State.STOPPED, reason)
        return TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Closes the record with the last line of the trial's traceback, which its Tune actor has written."""
        number = trial.config["number"]
        # Not `trial.get_error()`, which reads what Tune will have uploaded later.
        said = Path(trial.error_file).read_bytes() if trial.error_file and Path(trial.error_file).is_file() else b""
        self.records.end(number, State.FAILED, failure_reason(self.storage, number, said))
