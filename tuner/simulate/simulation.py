"""A sweep over learning curves that are known beforehand, on a simulated clock.

Everything that decides is a `Method`: ours (`tuner.simulate.methods`) is the searcher and the scheduler of the engine themselves,
others (`tuner.simulate.baselines`) are those of Ray Tune and Optuna. What is simulated is what happens between two decisions:
training, evaluating, the start of a worker group and the hand-over of a trial to it. Groups report in the order of time, at the
same time in the order of their numbers, and each verdict is given before the next report is looked at, as in the engine.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.simulate.methods import Ours
from tuner.simulate.setting import Config, Costs, Curves, MakeMethod, Setting, in_evaluations


@dataclass(frozen=True)
class Event:
    """A report."""

    time: float
    group: int
    number: int
    kimg: float
    score: float
    goes_on: bool


@dataclass
class Outcome:
    """A simulated sweep."""

    events: list[Event] = field(default_factory=list)
    configs: dict[int, Config] = field(default_factory=dict)  # by number, in the order of proposal
    kimg: float = 0.0  # spent
    working_s: float = 0.0  # time that groups trained and evaluated, up to their last reports
    handed_over: int = 0  # trials that were handed to a group, those that went on after a pause included

    @property
    def best(self) -> float:
        """The best score of all; infinity when there is none."""
        return min((event.score for event in self.events if math.isfinite(event.score)), default=math.inf)

    @property
    def time(self) -> float:
        """Of the last report."""
        return self.events[-1].time if self.events else 0.0

    @property
    def share_of_winner(self) -> float:
        """The part of all images that the trial with the best score has got; NaN when there is none."""
        scored = [event for event in self.events if math.isfinite(event.score)]
        if not scored:
            return math.nan
        winner = min(scored, key=lambda event: event.score).number
        return max(event.kimg for event in self.events if event.number == winner) / self.kimg

    def time_to(self, target: float) -> float:
        """When a score was ``target`` or less for the first time; infinity when none was."""
        return next((event.time for event in self.events if event.score <= target), math.inf)


@dataclass
class _Running:
    config: Config
    scores: np.ndarray
    kimg: float  # from one evaluation to the next
    done: int = 0  # evaluations
    best: float = math.inf


class Simulation:
    """One sweep.

    Args:
        curves: what would come of training.
        workers: worker groups.
        seed: of the method and of the curves.
        setting: the sweep.
        make: what searches; ours when left out.
        costs: what takes how long; time in evaluations when left out.

    Example:
        >>> space = Space.parse({"x": {"float": {"low": 0, "high": 1}}})
        >>> rule = SuccessiveHalving.Options(grace_kimg=1)
        >>> setting = Setting(space=space, kimg=9, total_kimg=90, scheduler=rule)
        >>> outcome = Simulation(lambda config, seed: (config["x"] + 9 / np.arange(1, 10), 1.0), 2, 0, setting=setting).run()
        >>> outcome.kimg
        90.0
    """

    def __init__(
        self,
        curves: Curves,
        workers: int,
        seed: int,
        *,
        setting: Setting,
        make: MakeMethod = Ours,
        costs: Costs | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers >= 1 must hold, but got {workers}")
        self.curves, self.workers, self.seed, self.setting = curves, workers, seed, setting
        self.costs = costs or in_evaluations()
        self.now = 0.0
        self.method = make(setting, seed, lambda: self.now)
        self._trials: dict[int, _Running] = {}
        self._waiting: list[tuple[float, int, int]] = []  # reports to come: time, group, number

    def run(self) -> Outcome:
        """Runs it to the end of its budget, or until there is nothing left to propose."""
        outcome, spent = Outcome(), 0
        idle = list(range(self.workers))
        while True:
            started = self.costs.start_s if self.now == 0 else self.costs.hand_over_s
            idle = [group for group in idle if not self._begin(group, self.now + started, outcome)]
            if not self._waiting:
                return outcome
            self.now, group, number = heapq.heappop(self._waiting)
            trial = self._trials[number]
            goes_on = self.method.report(self._report(number, trial))
            spent += 1
            outcome.kimg += trial.kimg
            outcome.working_s += self.costs.report_s(trial.config, trial.kimg)
            outcome.events.append(
                Event(self.now, group, number, trial.done * trial.kimg, float(trial.scores[trial.done - 1]), goes_on)
            )
            if outcome.kimg >= self.setting.total_kimg * (1 - 1e-9):
                return outcome
            if goes_on:
                self._await(group, number, self.now)
            else:
                idle = sorted([*idle, group])

    def _begin(self, group: int, at: float, outcome: Outcome) -> bool:
        """Hands a trial to a group that is free; whether there was one."""
        proposed = self.method.suggest()
        if proposed is None:
            return False
        number, config = proposed
        if number not in self._trials:
            scores, kimg = self.curves(config, self.seed)
            if len(scores) * kimg < self.setting.kimg * (1 - 1e-6):
                raise ValueError(
                    f"curves must reach {self.setting.kimg:g} kimg, but one ends at {len(scores) * kimg:g}: {config}"
                )
            self._trials[number] = _Running(config, scores, kimg)
            outcome.configs[number] = config
        outcome.handed_over += 1
        self._await(group, number, at)
        return True

    def _await(self, group: int, number: int, since: float) -> None:
        trial = self._trials[number]
        heapq.heappush(self._waiting, (since + self.costs.report_s(trial.config, trial.kimg), group, number))

    def _report(self, number: int, trial: _Running) -> dict[str, Any]:
        """The trial's next report, as a worker sends it."""
        score = float(trial.scores[trial.done])
        trial.done += 1
        trial.best = min(trial.best, score) if math.isfinite(score) else trial.best
        kimg = trial.done * trial.kimg
        return {
            "number": number,
            "step": trial.done,
            "kimg": kimg,
            "score": score,
            "score_best": trial.best,
            "metrics": {},
            "losses": {},
            "problem": None if math.isfinite(score) else f"the score is {score}",
            "last": kimg >= self.setting.kimg * (1 - 1e-6),
            "resumed": False,
            "seconds_training": self.costs.report_s(trial.config, trial.kimg),
            "seconds_evaluating": 0.0,
            "seconds_to_first_step": self.costs.hand_over_s,
        }
