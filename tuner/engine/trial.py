"""The Tune Trainable: it owns one warm worker group, hands trials to it, and passes reports up and verdicts down.

Tune calls ``step`` when a trial may go on: that call is the permission. An early stop is the absence of the next ``step``: the
actor is reset with the next trial's config (``reuse_actors``), or stopped, and only then is the verdict STOP sent.
"""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune

from cluster.placement import GroupShape
from trainables.data import DataOptions
from trainables.storage import Storage
from trainables.worker import CONTINUE, STOP, Assignment
from tuner.engine.group import WarmGroup
from tuner.records.paths import trial_folder


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share."""

    mailbox: Any
    shape: GroupShape
    data: DataOptions
    storage: Storage  # rooted at the folder of all trials
    cache_dir: str


_ERROR = "error.txt"


class TrialFailedError(RuntimeError):
    """A trial's own exception; the message is its traceback on the worker."""


class GroupTrial(tune.Trainable):
    """One Tune actor = one worker group; one Tune trial = one assignment.

    The config is ``{"number": Optuna number, "trial": TrialConfig as JSON data}``.
    """

    def setup(self, config: dict[str, Any], context: TrialContext | None = None) -> None:
        assert context is not None
        self.context = context
        self.step_reported = -1  # of the open trial; -1 before its first report
        self.group: WarmGroup | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end_trial()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self.step_reported >= 0:
            self._answer(CONTINUE)
        mailbox, group = self.context.mailbox, self._group()
        while True:
            report = ray.get(mailbox.receive.remote(group.name, self.step_reported, 1.0))
            if report is not None:
                break
            group.check()
        if "failure" in report:
            self.context.storage.write_bytes(f"{trial_folder(self.number)}/{_ERROR}", report["failure"].encode())
            raise TrialFailedError(report["failure"])
        self.step_reported = report["step"]
        return dict(report)

    def cleanup(self) -> None:
        if self.group is not None:
            self._end_trial()
            self.group.release()
            self.group = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune keeps no state: the workers write the checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Tune restores no state: a trial goes on from its own newest checkpoint."""

    def _begin(self, config: dict[str, Any]) -> None:
        self.number = config["number"]
        self.step_reported = -1
        assignment = Assignment(
            number=self.number,
            config=config["trial"],
            data=self.context.data,
            storage=self.context.storage.at(trial_folder(self.number)),
            cache_dir=self.context.cache_dir,
            handed_over_at=time.time(),
        )
        if self.group is None:
            self.group = WarmGroup(f"group-{self.trial_id}", self.context.mailbox, self.context.shape)
        ray.get(self.context.mailbox.assign.remote(self.group.name, self.number, pickle.dumps(assignment)))

    def _end_trial(self) -> None:
        if self.step_reported >= 0:
            self._answer(STOP)

    def _answer(self, verdict: str) -> None:
        ray.get(self.context.mailbox.decide.remote(self._group().name, self.number, self.step_reported, verdict))

    def _group(self) -> WarmGroup:
        assert self.group is not None
        return self.group


def failure_reason(sweep: Storage, number: int, said_by_ray: bytes) -> str:
    """Why trial ``number`` failed, in one line: the end of the traceback that its Tune actor wrote.

    Args:
        said_by_ray: what Ray knows of the failure; kept in the trial's folder where the actor could write nothing.
    """
    name = f"trials/{trial_folder(number)}/{_ERROR}"
    if not sweep.exists(name):
        sweep.write_bytes(name, said_by_ray)
        return f"its Tune actor died (what Ray says: {name})"
    lines = [line for line in sweep.read_bytes(name).decode().splitlines() if line.strip()]
    return f"{lines[-1]} (traceback: {name})"
