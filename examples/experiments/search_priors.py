"""Proposals from a prior around a known recipe, after PriorBand (arXiv 2306.12370): an arm of `examples.experiments.search`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from search_spaces.dimensions import Choice
from tuner.simulate.methods import Ours
from tuner.simulate.setting import Config, Setting
from tuner.simulate.synthetic import Draw, SyntheticCurves, unit


class WithPrior(Ours):
    """Half of the proposals from the prior or around the incumbent, in the proportion in which each explains the best trials so
    far (PriorBand, arXiv 2306.12370); the other half TPE's."""

    recipe: Config

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(setting, seed, clock)
        self.space, self.seed, self.spread = setting.space, seed, 0.2

    def suggest(self) -> tuple[int, Config] | None:
        number = self.proposals._count
        dice = np.random.default_rng([self.seed, number, 3])
        ranked = self.records.ranking()
        if number and not self.proposals._queued and dice.random() < 0.5:
            center = self.recipe
            if len(ranked) >= 3:
                likely = [
                    np.mean([self._density(record.values, one) for record in ranked[:3]]) for one in (center, ranked[0].values)
                ]
                if dice.random() > likely[0] / max(sum(likely), 1e-300):
                    center = ranked[0].values
            values = self._near(center, dice)
            self.proposals.study.enqueue_trial(self.space.params_of(values))
            self.proposals._queued.append(number)
            self.proposals._count += 1
        return super().suggest()

    def _near(self, center: Config, dice: np.random.Generator) -> dict[str, Any]:
        """A draw around a configuration; what it does not have is drawn evenly."""
        return self.space.suggest(_Around(self.space, center, self.spread, dice))  # type: ignore[arg-type]

    def _density(self, values: Config, center: Config) -> float:
        """How likely `_near` is to give these values, up to a constant."""
        total = 0.0
        for path, value in values.items():
            dimension = _dimension(self.space, path, values)
            if path not in center or isinstance(dimension, Choice):
                total += 0.0 if center.get(path) == value else -1.5
            elif center[path] in dimension:
                total -= 0.5 * ((unit(dimension, value) - unit(dimension, center[path])) / self.spread) ** 2
        return math.exp(total)


class _Around(Draw):
    """Draws near a configuration: a choice is kept in three of four cases, a number moves by ``spread`` of its range."""

    def __init__(self, space: Any, center: Config, spread: float, dice: np.random.Generator) -> None:
        super().__init__(dice)
        self.params = space.params_of(center, partial=True)
        self.spread = spread

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if name not in self.params:
            return super().suggest_float(name, low, high, log=log)
        ends = (math.log(low), math.log(high)) if log else (low, high)
        place = math.log(self.params[name]) if log else self.params[name]
        moved = min(max(place + self.spread * (ends[1] - ends[0]) * self._dice.standard_normal(), ends[0]), ends[1])
        return float(min(max(math.exp(moved), low), high) if log else moved)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return round(self.suggest_float(name, low, high, log=log))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        if self.params.get(name) in choices and self._dice.random() < 0.75:
            return self.params[name]
        return super().suggest_categorical(name, choices)


def _dimension(space: Any, path: str, values: Config) -> Any:
    return next(
        dimension
        for when, dimension in space.branches(path)
        if all(name in values and values[name] in allowed for name, allowed in when.items())
    )


def recipe_of(curves: Any, quantile: float) -> Config:
    """A configuration of a synthetic landscape that is better than all but this part: a paper's recipe, good or bad."""
    assert isinstance(curves, SyntheticCurves)
    dice = np.random.default_rng([curves.landscape, 5])
    drawn = sorted((curves.space.suggest(Draw(dice)) for _ in range(500)), key=curves.end)
    return dict(drawn[int(quantile * len(drawn))])
