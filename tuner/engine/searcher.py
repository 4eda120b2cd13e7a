"""The sweep's proposals behind Tune's ``Searcher``. The only writer of the Optuna journal.

Why not ``ray.tune.search.optuna.OptunaSearch``: it tells early-stopped trials as COMPLETE with their last value, so a FID after
two evaluations is ranked beside one after eighty; it leaves trials with a NaN value RUNNING for ever; and it forgets its study
with the process. What is told here is in `tuner.engine.proposals`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from ray.tune.search import Searcher

from search_spaces.space import Space
from tuner.engine.proposals import RETRY_OF, START, Proposals, open_study, sampler
from tuner.engine.unsaved import Unsaved
from tuner.records.trials import RecordBook, TrialRecord
from tuner.spec.trial_config import trial_config

__all__ = ["RETRY_OF", "START", "OptunaSearcher", "open_study", "sampler"]


class OptunaSearcher(Unsaved, Searcher):
    """Hands `Proposals` to Tune, by Tune's trial ids.

    Args:
        base: the fixed part of every trial's configuration.
        avoid: gives the ids of nodes that a trial should keep away from.
        study, space, trials, seed, records, deadline, insist, starts: as for `Proposals`.
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
        avoid: Callable[[], list[str]] = list,
        insist: Callable[[str, Callable[[], TrialRecord]], TrialRecord] = lambda what, write: write(),
        starts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(metric="score_best", mode="min")

        def configure(values: dict[str, Any]) -> dict[str, Any]:
            return trial_config(base, values).model_dump(mode="json")

        self.proposals = Proposals(
            study, space, trials, seed, records, configure=configure, deadline=deadline, insist=insist, starts=starts
        )
        self.avoid = avoid
        self._open: dict[str, int] = {}  # Tune's trial id → number

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing to propose now; an infrastructure failure may change that, before the deadline."""
        return self.proposals.exhausted

    @property
    def retried(self) -> set[int]:
        """Numbers of trials that were tried again under another one."""
        return self.proposals.retried

    def try_again(self, number: int) -> int:
        """Has a trial that failed tried again under a new number, which is returned."""
        return self.proposals.try_again(number)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's config; None when there may be more later, `Searcher.FINISHED` when there are no more."""
        proposal = self.proposals.suggest()
        if proposal is None:
            return Searcher.FINISHED if self.proposals.finished else None
        self._open[trial_id] = proposal.number
        return {"number": proposal.number, "trial": proposal.config, "avoid": self.avoid()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A report of a trial that goes on."""
        if trial_id in self._open:
            self.proposals.on_report(self._open[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended, or its group has."""
        if trial_id not in self._open:
            return
        if result and "fault" not in result:  # Tune tells a stopping trial's last report here only
            self.on_trial_result(trial_id, result)
        self.proposals.on_end(self._open.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal is always up to date."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed sweep opens the journal."""
