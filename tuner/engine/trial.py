"""The Tune Trainable: it owns one warm worker group, hands trials to it, and passes reports up and verdicts down.

Tune calls ``step`` when a trial may go on: that call is the permission. An early stop is the absence of the next ``step``: the
actor is reset with the next trial's config (``reuse_actors``), or stopped, and only then is the verdict STOP sent.

A failure is a result like any other, with whose fault it is: what follows is the sweep's to decide (`tuner.engine.failures`).
The group it came from is given back at once, and the next trial starts another.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from cluster.placement import GroupShape
from trainables.data import DataOptions
from trainables.faults import INFRASTRUCTURE
from trainables.storage import Storage
from trainables.worker import CONTINUE, STOP, Assignment
from tuner.engine.group import GroupEndedError, WarmGroup
from tuner.engine.report import Report
from tuner.records.paths import trial_folder

_SILENCE_S = 120.0  # after which a mailbox that does not answer is taken for gone
_POLL_S = 1.0  # how soon the end of a group is noticed that could not say so


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share."""

    shape: GroupShape
    data: DataOptions
    storage: Storage  # rooted at the folder of all trials
    cache_dir: str


class GroupTrial(tune.Trainable):
    """One Tune actor = one worker group at a time; one Tune trial = one assignment.

    The config is ``{"number": Optuna number, "trial": TrialConfig as JSON data, "avoid": ids of nodes to keep away from}``.
    """

    def setup(self, config: dict[str, Any], context: TrialContext | None = None) -> None:
        assert context is not None
        self.context = context
        self.group: WarmGroup | None = None
        self.groups_started = 0
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end_trial()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            report = self._next_report()
        except GroupEndedError as error:
            return self._failed(str(error), INFRASTRUCTURE, error.nodes)
        except ray.exceptions.RayError as error:  # the mailbox has gone
            return self._failed(f"the way to its worker group is broken: {error}", INFRASTRUCTURE, self._group().nodes)
        if "failure" in report:
            return self._failed(report["failure"], report["fault"], self._group().nodes)
        self.step_reported = report["step"]
        return {
            "number": self.number,
            "kimg": report["kimg"],
            "score_best": report["score_best"],
            "report": Report(report),
            "nodes": self._group().nodes,
        }

    def cleanup(self) -> None:
        self._end_trial()
        self._give_back()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune keeps no state: the workers write the checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Tune restores no state: a trial goes on from its own newest checkpoint."""

    def _begin(self, config: dict[str, Any]) -> None:
        """Hands the trial to the group. One that cannot take it is noticed at the first `step`."""
        self.number = config["number"]
        self.step_reported = -1  # of the open trial; -1 before its first report
        if self.group is not None and set(config["avoid"]) & {*self.group.nodes}:
            self._give_back()
        if self.group is None:
            self.groups_started += 1
            self.group = WarmGroup(f"group-{self.trial_id}-{self.groups_started}", self.context.shape, config["avoid"])
        assignment = Assignment(
            number=self.number,
            config=config["trial"],
            data=self.context.data,
            storage=self.context.storage.at(trial_folder(self.number)),
            cache_dir=self.context.cache_dir,
            handed_over_at=time.time(),
        )
        self._sent = self.group.mailbox.assign.remote(self.number, pickle.dumps(assignment))

    def _next_report(self) -> dict[str, Any]:
        mailbox, group = self._group().mailbox, self._group()
        if self.step_reported >= 0:
            ray.get(mailbox.decide.remote(self.number, self.step_reported, CONTINUE), timeout=_SILENCE_S)
        ray.get(self._sent, timeout=_SILENCE_S)
        while True:
            report = ray.get(mailbox.receive.remote(self.step_reported, _POLL_S), timeout=_SILENCE_S)
            if report is not None:
                return dict(report)
            group.check()

    def _failed(self, failure: str, fault: str, nodes: Iterable[str]) -> dict[str, Any]:
        self.step_reported = -1
        self._give_back()
        return {"number": self.number, "failure": failure, "fault": fault, "nodes": [*nodes], "score_best": math.nan}

    def _end_trial(self) -> None:
        if self.group is not None and self.step_reported >= 0:
            try:
                ray.get(self.group.mailbox.decide.remote(self.number, self.step_reported, STOP), timeout=_SILENCE_S)
            except ray.exceptions.RayError:
                self._give_back()

    def _give_back(self) -> None:
        if self.group is not None:
            self.group.release()
            self.group = None

    def _group(self) -> WarmGroup:
        assert self.group is not None
        return self.group
