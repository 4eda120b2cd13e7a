"""Made-up learning curves over any search space: for a simulator without a recording. They say nothing of GANs.

What they have in common with what sweeps show: a conditional space whose branches have optima of their own, a score that falls
like that of a FID, noise from one evaluation to the next, curves that cross (what learns slowly may end lower), and trials that
collapse late. The numbers below are chosen, not measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.dimensions import Choice, Dimension, Float, Scalar
from search_spaces.space import Space
from tuner.schedulers import SuccessiveHalving
from tuner.simulate.setting import Config, Costs, Setting, in_evaluations

TARGET = 16.0
"""A score that few configurations reach."""

_SAMPLE = 2000  # configurations by which a landscape is scaled


@dataclass(frozen=True)
class Shape:
    """What the curves of a landscape are like; scores are like FIDs."""

    start: float = 100.0  # before training
    best: float = 10.0  # the best configuration's, after training without end
    worst: float = 70.0  # the worst one's
    power: float = 0.52  # how the scores in between lie: below 1, good ones are rare
    halving: tuple[float, float] = (0.03, 0.2)  # the part of a trial in which the distance to its end halves: fastest, slowest
    noise: float = 0.06  # of an evaluation: standard deviation over the value
    collapses: float = 0.5  # of the trials of the most hazardous configuration, some time after a third of the trial


class SyntheticCurves:
    """Synthetic learning curves over ``space``: (config, seed) → (scores [evaluations], kimg from one to the next).

    Args:
        space: any.
        landscape: which of all landscapes: where the optima are, and what matters how much.
        evaluations: of a whole trial.
        kimg: from one evaluation to the next.
    """

    def __init__(
        self, space: Space, landscape: int = 0, evaluations: int = 27, kimg: float = 1.0, shape: Shape | None = None
    ) -> None:
        self.kimg = kimg
        self.space, self.landscape, self.evaluations, self.shape = space, landscape, evaluations, shape or Shape()
        self._branches: dict[str, list[tuple[dict[str, Any], Dimension]]] = {}
        self._terms: dict[tuple[str, str, int], tuple[float, np.ndarray]] = {}
        dice = np.random.default_rng([landscape, 1])
        drawn = [space.suggest(Draw(dice)) for _ in range(_SAMPLE)]
        # By quantiles, so that good configurations are as rare in every space and landscape.
        self._sorted = {part: np.sort([self._raw(config, part) for config in drawn]) for part in ("end", "speed", "hazard")}

    def __call__(self, config: Config, seed: int) -> tuple[np.ndarray, float]:
        shape, dice = self.shape, np.random.default_rng(digest(self.landscape, seed, dict(config)))
        done = np.arange(1, self.evaluations + 1) / self.evaluations
        end = self.end(config)
        fastest, slowest = shape.halving
        halving = fastest * (slowest / fastest) ** self._quantile(config, "speed")
        scores = end + (shape.start - end) * 0.5 ** (done / halving)
        if dice.random() < shape.collapses * self._quantile(config, "hazard"):
            since = np.maximum(0.0, done - dice.uniform(1 / 3, 1))
            scores = scores * (1 + 5 * since)
        return scores * np.exp(shape.noise * dice.standard_normal(self.evaluations)), self.kimg

    def end(self, config: Config) -> float:
        """The score of a configuration after training without end, noise and collapse."""
        return self.shape.best + (self.shape.worst - self.shape.best) * self._quantile(config, "end") ** self.shape.power

    def _quantile(self, config: Config, part: str) -> float:
        return float(np.searchsorted(self._sorted[part], self._raw(config, part)) / _SAMPLE)

    def _raw(self, config: Config, part: str) -> float:
        """A sum over dimensions, in each of which the branch that holds has an optimum and a weight of its own."""
        total = 0.0
        for path, value in config.items():
            place, dimension = self._branch(path, config)
            key = part, path, place
            if key not in self._terms:
                dice = np.random.default_rng(digest(self.landscape, *key))
                count = len(dimension.choices) if isinstance(dimension, Choice) else 1
                self._terms[key] = dice.exponential(), dice.random(count)
            weight, drawn = self._terms[key]
            if isinstance(dimension, Choice):
                total += weight * drawn[dimension.choices.index(value)]
            else:
                total += weight * 2 * abs(unit(dimension, value) - (0.1 + 0.8 * drawn[0])) ** 1.5
        return float(total)

    def _branch(self, path: str, config: Config) -> tuple[int, Dimension]:
        if path not in self._branches:
            self._branches[path] = self.space.branches(path)
        for place, (when, dimension) in enumerate(self._branches[path]):
            if all(config.get(other) in allowed for other, allowed in when.items()):
                return place, dimension
        raise ValueError(f"{path} is in a configuration although none of its conditions holds: {dict(config)}")


def made_up(seed: int, trainings: float = 54.0) -> tuple[SyntheticCurves, Setting, Costs]:
    """The synthetic sweep of docs/search.md: the shipped space `few_shot_generation` in a landscape, rungs at 1/9 and 1/3.

    Args:
        seed: of the landscape.
        trainings: the budget, in trials that are not stopped.
    """
    curves = SyntheticCurves(Space.preset("few_shot_generation"), landscape=seed)
    kimg = float(curves.evaluations)
    rule = SuccessiveHalving.Options(grace_kimg=kimg / 9)
    setting = Setting(space=curves.space, kimg=kimg, total_kimg=trainings * kimg, scheduler=rule)
    return curves, setting, in_evaluations()


class Draw:
    """Draws evenly, like a trial of Optuna's random sampler, and much faster."""

    def __init__(self, dice: np.random.Generator) -> None:
        self._dice = dice

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        share = self._dice.random()
        return float(low * (high / low) ** share if log else low + (high - low) * share)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return round(self.suggest_float(name, low, high, log=True)) if log else int(self._dice.integers(low, high + 1))

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:
        return choices[int(self._dice.integers(len(choices)))]


def unit(dimension: Dimension, value: Any) -> float:
    """Where a number lies in its range, from 0 to 1, as the range is drawn from."""
    assert isinstance(dimension, Float) or not isinstance(dimension, Choice)
    low, high = dimension.low, dimension.high
    if high == low:
        return 0.0
    return float(np.log(value / low) / np.log(high / low)) if dimension.log else (value - low) / (high - low)


def digest(*parts: Any) -> int:
    """A number of 64 bits that depends on all of ``parts``, which are JSON data."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).digest(), "little")
