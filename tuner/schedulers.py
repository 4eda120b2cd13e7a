"""Schedulers decide at each report whether a trial goes on, and say why not. A new one is a class and one line in SCHEDULERS.

Tune's own ASHA compares the last value, keeps its rungs in memory only (a restored sweep forgets them, ray#30838), and never
stops a trial whose metric is NaN. These compare the best score so far, write their rungs with the sweep, and say why.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.metrics import AnyMetric, label, score
from trainables.registry import Options, Registry
from trainables.storage import Storage
from tuner.records import RecordBook, State, Unsaved, shown
from tuner.trial import failure_reason

_FILE = "scheduler.json"


class SuccessiveHalvingOptions(Options):
    """Options of `SuccessiveHalving`."""

    name: Literal["successive_halving"] = "successive_halving"
    grace_kimg: float = Field(gt=0, allow_inf_nan=False)
    """No trial is stopped before it has seen this many thousand images: the first rung."""
    reduction_factor: float = Field(3, gt=1, allow_inf_nan=False)
    """η: of the trials at a rung the best 1/η go on; each rung is η times as far as the one before."""


class NoStoppingOptions(Options):
    """Options of `NoStopping`."""

    name: Literal["none"] = "none"


class SuccessiveHalving:
    """Asynchronous successive halving (Li et al. 2020) on kimg, by the best score so far.

    A trial that reaches a rung goes on when it is among the best 1/η of those that have reached it so far, itself included
    (the first one always does). It never waits for others.
    """

    Options = SuccessiveHalvingOptions

    def __init__(self, options: SuccessiveHalvingOptions, max_kimg: float, metric: AnyMetric) -> None:
        self.metric = metric
        self.reduction_factor = options.reduction_factor
        self.rungs: list[tuple[float, dict[int, float]]] = []  # kimg → best score by trial number
        self.stopped: dict[int, str] = {}  # trial number → why
        kimg = options.grace_kimg
        while kimg < max_kimg * (1 - 1e-9):
            self.rungs.append((kimg, {}))
            kimg *= options.reduction_factor

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        """Why trial ``number`` must stop at this report; None when it goes on. The same report asked again is answered alike."""
        if number in self.stopped:
            return self.stopped[number]
        for rung, values in self.rungs:
            if kimg < rung * (1 - 1e-9) or number in values:
                continue
            values[number] = score_best
            survivors = max(1, math.floor(len(values) / self.reduction_factor))
            place = sorted(values.values()).index(score_best) + 1
            if place > survivors:
                best = shown(score(self.metric, score_best))
                self.stopped[number] = (
                    f"best {label(self.metric)} {best} is {_ordinal(place)} of {len(values)} trials at the rung of {rung:g} kimg"
                    f"; the best {survivors} {'go' if survivors > 1 else 'goes'} on"
                )
                return self.stopped[number]
        return None

    def state(self) -> dict[str, Any]:
        """What a resumed sweep needs, as JSON data."""
        rungs = [[rung, {str(number): best for number, best in values.items()}] for rung, values in self.rungs]
        return {"rungs": rungs, "stopped": {str(number): reason for number, reason in self.stopped.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes `state` up again; rungs that the spec no longer has are dropped."""
        known = dict(state.get("rungs", ()))  # nothing of it where the sweep ran under another scheduler before
        self.rungs = [(rung, {int(k): v for k, v in known.get(rung, {}).items()}) for rung, _ in self.rungs]
        self.stopped = {int(number): reason for number, reason in state.get("stopped", {}).items()}


class NoStopping:
    """Every trial runs to its end, unless its losses or its metric are not finite."""

    Options = NoStoppingOptions

    def __init__(self, options: NoStoppingOptions, max_kimg: float, metric: AnyMetric) -> None:
        pass

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        """Never stops a trial."""
        return None

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing."""


SCHEDULERS: Registry[Any] = Registry("scheduler", {"successive_halving": SuccessiveHalving, "none": NoStopping})


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
        cache = tune_controller._actor_cache
        if self.keep_warm > 1 and not cache._max_num_objects[trial.placement_group_factory]:
            cache.increase_max(trial.placement_group_factory, self.keep_warm)

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


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
