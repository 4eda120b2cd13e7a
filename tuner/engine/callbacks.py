"""Tune's events, turned into files for people and what the user sees. Records are the scheduler's: they decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune

from trainables.scoring import Metric
from tuner.engine.group import reclaim
from tuner.engine.ray_internals import actor_id_of
from tuner.engine.starvation import Starvation
from tuner.engine.unsaved import Unsaved
from tuner.records.paths import SweepPaths
from tuner.records.progress import Progress
from tuner.records.publisher import Publisher
from tuner.records.trials import RecordBook, TrialRecord


class SweepCallback(Unsaved, tune.Callback):
    """Keeps leaderboard, TensorBoard and the progress display up to date. A trial is told by its Optuna number."""

    def __init__(
        self,
        paths: SweepPaths,
        records: RecordBook,
        metric: Metric,
        progress: Progress,
        starvation: Starvation,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.starvation = starvation
        self.records, self.progress = records, progress
        self.log = Publisher(paths, records, metric, allowed=allowed)
        self._trouble: str | None = None  # as it was told last
        self.actors: set[str] = set()  # ids of all Tune actors that the sweep has had
        self._actor_of: dict[str, str] = {}  # Tune's trial id → id of the actor that runs it

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop has turned once."""
        self.progress.waiting(self.starvation.reason())
        if (trouble := self.log.trouble) != self._trouble:
            self._trouble = trouble
            self.progress.waiting(trouble)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has a Tune actor; its workers may still be starting."""
        record = self.records[trial.config["number"]]
        if (actor := actor_id_of(trial)) is not None and actor not in self.actors:
            self.actors.add(actor)
            self.starvation.started(actor)
        if actor is not None:
            self._actor_of[trial.trial_id] = actor
        self.log.started(record)
        self.progress.started(record)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A report or a failure came up; what it says is noted already."""
        if (actor := actor_id_of(trial)) is not None:
            # After a failure the group is another one, which may have to wait for room.
            (self.starvation.started if "fault" in result else self.starvation.reported)(actor)

    def reported(self, record: TrialRecord) -> None:
        """A trial has a new report."""
        self.log.reported(record)
        self.progress.reported(record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, or will go on in another group."""
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's Tune actor has gone; what it held is taken back, or the next group would wait for it for ever."""
        reclaim()
        if (actor := self._actor_of.get(trial.trial_id)) is not None:
            self.starvation.ended(actor)
        self._ended(trial)

    def _ended(self, trial: Any) -> None:
        self._actor_of.pop(trial.trial_id, None)
        record = self.records[trial.config["number"]]
        self.log.ended(record)
        self.progress.ended(record)
