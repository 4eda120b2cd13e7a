"""Tune's events, turned into records, files and what the user sees."""

from __future__ import annotations

from typing import Any

from ray import tune

from trainables.metrics import AnyMetric
from tuner.engine.group import reclaim
from tuner.engine.starvation import Starvation
from tuner.engine.unsaved import Unsaved
from tuner.records.paths import SweepPaths
from tuner.records.progress import Progress
from tuner.records.tables import write_leaderboard
from tuner.records.tensorboard import TensorBoardLog
from tuner.records.trials import RecordBook


class SweepCallback(Unsaved, tune.Callback):
    """Keeps records, leaderboard, TensorBoard and the progress display up to date. A trial is told by its Optuna number."""

    def __init__(
        self,
        paths: SweepPaths,
        records: RecordBook,
        metric: AnyMetric,
        progress: Progress,
        starvation: Starvation,
    ) -> None:
        self.starvation = starvation
        self.paths, self.records, self.metric, self.progress = paths, records, metric, progress
        self.log = TensorBoardLog(paths, metric)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop has turned once."""
        self.progress.waiting(self.starvation.reason())

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has a Tune actor; its workers may still be starting."""
        record = self.records[trial.config["number"]]
        self.log.start(record)
        self.progress.started(record)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A report came up. One that is known already (the trial goes on from a checkpoint) changes nothing."""
        record = self.records[result["number"]]
        if record.add(result):
            self.records.save(record.number)
            write_leaderboard(self.paths, self.records, self.metric)
            self.log.report(record, record.reports[-1])
            self.progress.reported(record)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended by its budget or was stopped."""
        self._ended(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed, perhaps because its Tune actor died: what that one held is taken back here."""
        reclaim()
        self._ended(trial)

    def _ended(self, trial: Any) -> None:
        record = self.records[trial.config["number"]]
        self.log.end(record)
        write_leaderboard(self.paths, self.records, self.metric)
        self.progress.ended(record)
