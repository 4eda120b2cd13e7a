"""Optuna behind Tune's ``Searcher``: ask, report, tell, with a journal on disk. The only writer of that journal.

Why not ``ray.tune.search.optuna.OptunaSearch``: it tells early-stopped trials as COMPLETE with their last value, so a FID after
two evaluations is ranked beside one after eighty; it leaves trials with a NaN value RUNNING for ever; and it forgets its study
with the process. Here stopped trials are PRUNED with their intermediate values, failed ones FAIL with the cause, and trials that
a killed driver left RUNNING are proposed again first, to go on from their checkpoints.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search_spaces.space import Space
from trainables.config import TrialConfig
from tuner.engine.unsaved import Unsaved
from tuner.records.trials import RecordBook, State
from tuner.spec.trial_config import trial_config

STUDY = "gansweep"


def open_study(storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The study of a sweep, created or taken up again. Lower is better."""
    return optuna.create_study(study_name=STUDY, storage=storage, direction="minimize", load_if_exists=True)


def sampler(seed: int, number: int) -> optuna.samplers.TPESampler:
    """The sampler that proposes trial ``number``: a function of seed and number, so a resumed sweep proposes the same.

    ``group=True`` because the space is conditional: parameters that occur together are modelled together.
    """
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=int.from_bytes(digest, "little"), multivariate=True, group=True, n_startup_trials=5, constant_liar=True
        )


class OptunaSearcher(Unsaved, Searcher):
    """Proposes at most ``trials`` trials over all runs of the sweep.

    Args:
        study: from `open_study`.
        space: what is searched.
        base: the fixed part of every trial's configuration.
        trials: number of trials of the whole sweep.
        seed: of the sampler.
        records: where values are noted and outcomes read.
        deadline: `time.time()` after which nothing more is proposed; None for no limit.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        base: dict[str, Any],
        trials: int,
        seed: int,
        records: RecordBook,
        deadline: float | None = None,
    ) -> None:
        super().__init__(metric="score_best", mode="min")
        self.study, self.space, self.base, self.trials, self.seed, self.records = study, space, base, trials, seed, records
        self._unfinished = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._open: dict[str, optuna.Trial] = {}  # by Tune's trial id
        self.deadline = deadline

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's config; `Searcher.FINISHED` when there are no more."""
        if self.deadline is not None and time.time() > self.deadline:
            return Searcher.FINISHED
        if self._unfinished:
            frozen = self._unfinished.pop(0)
            trial = optuna.Trial(self.study, frozen._trial_id)
        elif len(self.study.get_trials(deepcopy=False)) < self.trials:
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = sampler(self.seed, number)
            trial = self.study.ask()
        else:
            return Searcher.FINISHED
        # For a trial taken up again this returns the values that the journal holds.
        values = self.space.suggest(trial)
        config: TrialConfig = trial_config(self.base, values)
        self._open[trial_id] = trial
        self.records.open(trial.number, values)
        return {"number": trial.number, "trial": config.model_dump(mode="json")}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Reports the best score so far as the intermediate value at the result's step."""
        trial = self._open.get(trial_id)
        if trial is None or not math.isfinite(result["score_best"]):
            return
        # A trial that goes on from its checkpoint reports that step again, which Optuna would warn about.
        if result["step"] not in self.study._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(result["score_best"], step=result["step"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the study how the trial ended, which its record knows."""
        if trial_id not in self._open:
            return
        if result:  # Tune tells a stopping trial's last result here only
            self.on_trial_result(trial_id, result)
        trial = self._open.pop(trial_id)
        record = self.records[trial.number]
        trial.set_user_attr("reason", record.reason)
        if record.state == State.COMPLETE:
            self.study.tell(trial, record.score_best)
        elif record.state == State.STOPPED:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is always up to date."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed sweep opens the journal."""
