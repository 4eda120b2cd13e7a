"""What is tried next, and what the sampler is told: Optuna's ask and tell over the sweep's records. Knows no Ray.

Stopped trials are PRUNED with their intermediate values, and so are those whose training went wrong: TPE learns to keep away.
Ones with a configuration that cannot run FAIL with the cause, which TPE ignores. Trials that a killed driver left RUNNING, or
under which infrastructure failed, are proposed again first, to go on from their checkpoints.

`tuner.engine.searcher` hands it to Tune; `tuner.simulate` drives it over recorded curves.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from search_spaces.space import Space
from tuner.records.trials import Fault, RecordBook, State, TrialRecord

STUDY = "gansweep"
RETRY_OF, START = "retry_of", "start"  # attributes of a trial in the study
"""The attribute of a trial that is another one tried again: that one's number."""


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


@dataclass(frozen=True)
class Proposal:
    """A trial to be run, or to go on."""

    number: int
    config: Any  # what `Proposals` was told to make of the values


class Proposals:
    """Proposes at most ``trials`` trials over all runs of the sweep, those that a user had tried again apart.

    Args:
        study: from `open_study`.
        space: what is searched.
        trials: number of trials of the whole sweep.
        seed: of the sampler.
        records: where values are noted and outcomes read.
        configure: makes a trial's configuration of its searched values; raises where they do not fit.
        deadline: by ``clock``, after which nothing more is proposed; None for no limit.
        insist: writes a record, and waits while the storage refuses (`Patience.insist`).
        starts: named starting points that are proposed first, values by dotted path; they count among ``trials``.
        clock: seconds; a simulation has its own.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        trials: int,
        seed: int,
        records: RecordBook,
        *,
        configure: Callable[[dict[str, Any]], Any],
        deadline: float | None = None,
        insist: Callable[[str, Callable[[], TrialRecord]], TrialRecord] = lambda what, write: write(),
        starts: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.study, self.space, self.trials, self.seed, self.records = study, space, trials, seed, records
        self.configure, self.deadline, self.insist, self.clock = configure, deadline, insist, clock
        self._open: dict[int, int] = {}  # number of a trial that runs → its id in the study
        self._again: list[int] = []  # ids of trials to be taken up again, before any new one
        self._count = 0  # trials that are in the study
        self.retried: set[int] = set()  # numbers of trials that were tried again under another one
        self._queued: list[int] = []  # numbers of these that have not been proposed
        for frozen in study.get_trials(deepcopy=False):
            self._count += 1
            if RETRY_OF in frozen.user_attrs:
                self.retried.add(frozen.user_attrs[RETRY_OF])
            if frozen.state == TrialState.WAITING:
                self._queued.append(frozen.number)
            if frozen.state == TrialState.RUNNING:
                self._take_up(frozen)
            elif frozen.number in records.unknown:
                self._restore(frozen)
        known = {frozen.user_attrs.get(START) for frozen in study.get_trials(deepcopy=False)}
        for name, values in (starts or {}).items():
            if name not in known and self._count < trials:
                self.study.enqueue_trial(self.space.params_of(values, partial=True), user_attrs={START: name})
                self._queued.append(self._count)
                self._count += 1

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing to propose now; an infrastructure failure may change that, before the deadline."""
        return self._overdue or (not self._again and not self._queued and self._count >= self.trials + len(self.retried))

    @property
    def finished(self) -> bool:
        """Whether there will be nothing more to propose."""
        return self._overdue or (self.exhausted and not self._open)

    def try_again(self, number: int) -> int:
        """Has a trial that failed tried again under a new number, which is returned: Optuna's ended trials stay ended."""
        failed = self.study.get_trials(deepcopy=False)[number]
        self.study.enqueue_trial(failed.params, user_attrs={RETRY_OF: number})
        self._queued.append(self._count)
        self._count += 1
        self.retried.add(number)
        return self._queued[-1]

    def suggest(self) -> Proposal | None:
        """The next trial; None when there is none now."""
        if self.exhausted:
            return None
        if self._again:
            number = self.study._storage.get_trial(self._again[0]).number
            self.study.sampler = sampler(self.seed, number)  # a driver killed in `suggest` has left some values open
            trial = optuna.Trial(self.study, self._again.pop(0))
        else:
            number = self._queued.pop(0) if self._queued else self._count
            self.study.sampler = sampler(self.seed, number)
            trial = self.study.ask()  # the first in the queue, if there is one
            assert trial.number == number
            self._count = max(self._count, number + 1)
        # For a trial taken up again this returns the values that the journal holds.
        values = self.space.suggest(trial)
        config = self.configure(values)
        self._open[number] = trial._trial_id
        self.insist(f"writing trial {number}'s record", lambda: self.records.open(number, values))
        return Proposal(number, config)

    def on_report(self, number: int, report: Mapping[str, Any]) -> None:
        """Tells the best score so far as the intermediate value at the images seen: steps of different batch sizes differ."""
        self._note(self._open[number], report)

    def on_end(self, number: int) -> None:
        """Tells the study how a trial ended, which its record knows; one that is still running there is proposed again."""
        trial_id = self._open.pop(number)
        if self.records[number].state == State.RUNNING:
            self._again.append(trial_id)
        else:
            self._tell(number, trial_id)

    @property
    def _overdue(self) -> bool:
        return self.deadline is not None and self.clock() > self.deadline

    def _take_up(self, frozen: optuna.trial.FrozenTrial) -> None:
        """A trial that the last driver left RUNNING: told, where only that was missing, else to be proposed again."""
        if frozen.number in self.records and self.records[frozen.number].state != State.RUNNING:
            for report in self.records[frozen.number].reports:
                self._note(frozen._trial_id, report)
            self._tell(frozen.number, frozen._trial_id)
        else:
            self._again.append(frozen._trial_id)

    def _note(self, trial_id: int, report: Mapping[str, Any]) -> None:
        images, storage = round(report["kimg"] * 1000), self.study._storage
        # A trial that goes on from its checkpoint reports that step again.
        if math.isfinite(report["score_best"]) and images not in storage.get_trial(trial_id).intermediate_values:
            storage.set_trial_intermediate_value(trial_id, images, report["score_best"])

    def _restore(self, frozen: optuna.trial.FrozenTrial) -> None:
        """The record of a trial that ended, and whose file cannot be read, from what the journal knows."""
        number, values, told = frozen.number, self.space.suggest(frozen), frozen.user_attrs
        fault = Fault(told["fault"]) if "fault" in told else None
        state = {TrialState.COMPLETE: State.COMPLETE, TrialState.PRUNED: State.STOPPED}.get(frozen.state, State.FAILED)
        state, reason = State.FAILED if fault else state, told.get("reason", "unknown")
        restore = self.records.restore
        self.insist(f"writing trial {number}'s record", lambda: restore(number, values, state, reason, fault))

    def _tell(self, number: int, trial_id: int) -> None:
        record = self.records[number]
        self.study._storage.set_trial_user_attr(trial_id, "reason", record.reason)
        if record.fault is not None:
            self.study._storage.set_trial_user_attr(trial_id, "fault", record.fault.value)
        if record.state == State.COMPLETE:
            self.study.tell(number, record.score_best)
        elif record.state == State.STOPPED or record.fault == Fault.TRAINING:
            # Pruned with what it reached; TPE takes one that reached nothing for the worst of all, and keeps away from there.
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, state=TrialState.FAIL)
