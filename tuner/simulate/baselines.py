"""What others search with: the classes of Ray Tune and Optuna themselves, called as their own loops call them.

Each is told what its documentation has people tell it: the value of each evaluation, not the best so far. Their rungs are where
ours are.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from search_spaces.space import Space
from tuner.simulate.setting import Config, MakeMethod, Setting


class Ray:
    """A searcher and a scheduler of Ray Tune. A trial is a stand-in that has the id, all that ASHA looks at."""

    def __init__(self, searcher: OptunaSearch, scheduler: TrialScheduler) -> None:
        self.searcher, self.scheduler = searcher, scheduler
        self._trials: dict[int, SimpleNamespace] = {}
        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)

    def suggest(self) -> tuple[int, Config] | None:
        number = len(self._trials)
        trial = SimpleNamespace(trial_id=f"{number:08d}")
        with warnings.catch_warnings():  # it takes TPE's own time for that of the function that names the space
            warnings.filterwarnings("ignore", "Define-by-run function passed")
            config = self.searcher.suggest(trial.trial_id)
        self._trials[number] = trial
        self.scheduler.on_trial_add(None, trial)
        return number, config["values"]

    def report(self, report: dict[str, Any]) -> bool:
        trial = self._trials[report["number"]]
        result = {"score": report["score"], "images": _images(report["kimg"]), "training_iteration": report["step"]}
        if report["problem"]:  # the trainable has raised
            self.scheduler.on_trial_error(None, trial)
            self.searcher.on_trial_complete(trial.trial_id, error=True)
            return False
        # As in Tune's loop: a trial that has reached its end is not shown to the scheduler's `on_trial_result`.
        if report["last"]:
            self.scheduler.on_trial_complete(None, trial, result)
            self.searcher.on_trial_complete(trial.trial_id, result=result)
            return False
        goes_on = self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE
        if goes_on:
            self.searcher.on_trial_result(trial.trial_id, result)
        else:
            self.scheduler.on_trial_complete(None, trial, result)
            self.searcher.on_trial_complete(trial.trial_id, result=result)
        return goes_on


def random_search(setting: Setting, seed: int, clock: Callable[[], float]) -> Ray:
    """Random search; every trial runs to its end."""
    return Ray(_search(setting.space, seed, optuna.samplers.RandomSampler(seed)), FIFOScheduler())


def ray_asha_random(setting: Setting, seed: int, clock: Callable[[], float]) -> Ray:
    """Random search with Ray's ASHA."""
    return Ray(_search(setting.space, seed, optuna.samplers.RandomSampler(seed)), _asha(setting))


def ray_asha_optuna(setting: Setting, seed: int, clock: Callable[[], float]) -> Ray:
    """Ray's OptunaSearch, which is TPE, with Ray's ASHA."""
    return Ray(_search(setting.space, seed, None), _asha(setting))


class OptunaPruned:
    """Optuna alone: TPE and its own SuccessiveHalvingPruner, both as they come, by ask and tell."""

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # TPE warns at each parameter that not all trials have
        self.space = setting.space
        first, factor = _rungs(setting)
        if factor != int(factor):
            raise ValueError(f"reduction_factor must be whole for Optuna's pruner, but got {factor}")
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=int(factor))
        self.study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}

    def suggest(self) -> tuple[int, Config] | None:
        trial = self.study.ask()
        self._trials[trial.number] = trial
        return trial.number, self.space.suggest(trial)

    def report(self, report: dict[str, Any]) -> bool:
        trial = self._trials[report["number"]]
        if report["problem"]:
            self.study.tell(trial, state=TrialState.FAIL)
            return False
        trial.report(report["score"], _images(report["kimg"]))
        if report["last"]:
            self.study.tell(trial, report["score"])
            return False
        if trial.should_prune():
            self.study.tell(trial, state=TrialState.PRUNED)
            return False
        return True


class TopK:
    """One rung, keep the best K (arXiv 2307.15422): random search to the first rung, then those K go on to their ends.

    Half of the budget goes to each of the two parts. A trial waits at the rung with its checkpoint, which Ray cannot do.
    """

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.rung = setting.space, _rungs(setting)[0]
        self.many = round(setting.total_kimg / 2 / (self.rung / 1000))
        self.few = max(1, math.ceil(setting.total_kimg / 2 / (setting.kimg - self.rung / 1000)))
        self.study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        self._configs: dict[int, Config] = {}
        self._at_rung: dict[int, float] = {}
        self._chosen: list[int] | None = None

    def suggest(self) -> tuple[int, Config] | None:
        if len(self._configs) < self.many:
            trial = self.study.ask()
            self._configs[trial.number] = self.space.suggest(trial)
            return trial.number, self._configs[trial.number]
        if self._chosen is None:
            if len(self._at_rung) < self.many:
                return None
            sound = [number for number, score in self._at_rung.items() if math.isfinite(score)]
            self._chosen = sorted(sound, key=lambda number: self._at_rung[number])[: self.few]
        return (number := self._chosen.pop(0), self._configs[number]) if self._chosen else None

    def report(self, report: dict[str, Any]) -> bool:
        number = report["number"]
        if number in self._at_rung:
            return not report["problem"] and not report["last"]
        if report["problem"] or _images(report["kimg"]) >= self.rung:
            self._at_rung[number] = math.inf if report["problem"] else report["score_best"]
        return number not in self._at_rung


BASELINES: dict[str, MakeMethod] = {
    "random, no stopping": random_search,
    "random + Ray's ASHA": ray_asha_random,
    "Ray's OptunaSearch + ASHA": ray_asha_optuna,
    "Optuna's TPE + its pruner": OptunaPruned,
    "random, top K": TopK,
}


def _search(space: Space, seed: int, sampler: optuna.samplers.BaseSampler | None) -> OptunaSearch:
    def draw(trial: Any) -> dict[str, Any]:
        return {"values": space.suggest(trial)}

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSearch(space=draw, metric="score", mode="min", sampler=sampler, seed=None if sampler else seed)


def _asha(setting: Setting) -> ASHAScheduler:
    first, factor = _rungs(setting)
    return ASHAScheduler("images", "score", "min", max_t=_images(setting.kimg), grace_period=first, reduction_factor=factor)


def _rungs(setting: Setting) -> tuple[int, float]:
    """The first rung in images, as Optuna's pruner wants whole numbers, and η: ours, or a ninth and 3 where we stop nobody."""
    options = setting.scheduler
    return _images(getattr(options, "grace_kimg", setting.kimg / 9)), getattr(options, "reduction_factor", 3)


def _images(kimg: float) -> int:
    return round(kimg * 1000)
