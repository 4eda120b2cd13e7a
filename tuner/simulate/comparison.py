"""Methods side by side: the same curves, budgets, groups and seeds in one run; medians, quartiles and ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.simulate.cases import Case
from tuner.simulate.setting import MakeMethod
from tuner.simulate.simulation import Outcome, Simulation

OURS = "gansweep"
REFERENCES = ("random, no stopping", "Ray's OptunaSearch + ASHA")
"""Methods that others are compared with."""


@dataclass
class Row:
    """A method over all seeds, by seed: when it reached the target (infinity: never), and its best score at the budget's end."""

    name: str
    times: list[float] = field(default_factory=list)
    bests: list[float] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of all images, those of the winner

    def add(self, outcome: Outcome, target: float) -> None:
        self.times.append(outcome.time_to(target))
        self.bests.append(outcome.best)
        self.trials.append(len(outcome.configs))
        self.shares.append(outcome.share_of_winner)

    def as_json(self, others: Iterable[Row]) -> dict[str, Any]:
        """Medians and quartiles; how many times faster than each of ``others``, by medians; null where a median is infinite."""
        return {
            "method": self.name,
            "time_to_target": [_finite(value) for value in quartiles(self.times)],
            "reached": sum(map(math.isfinite, self.times)),
            "best": [_finite(value) for value in quartiles(self.bests)],
            "trials": quartiles(self.trials)[1],
            "winner_share": round(quartiles(self.shares)[1], 3),
            "times_faster_than": {row.name: _finite(faster(self, row)) for row in others},
            "by_seed": {"time_to_target": [_finite(value) for value in self.times], "best": self.bests},
        }


def compare(
    case: Callable[[int], Case],
    methods: Mapping[str, MakeMethod],
    workers: int,
    seeds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Runs every method with every seed; a row of JSON data for each method, with ratios to `REFERENCES` of the same run.

    Args:
        progress: told after each simulated sweep how many have been, and how many there are in all.
    """
    rows = {name: Row(name) for name in methods}
    for seed in range(seeds):
        one = case(seed)
        for place, (name, make) in enumerate(methods.items(), start=1):
            outcome = Simulation(one.curves, workers, seed, setting=one.setting, make=make, costs=one.costs).run()
            rows[name].add(outcome, one.target)
            progress(seed * len(methods) + place, seeds * len(methods))
    references = [rows[name] for name in REFERENCES if name in rows]
    return [row.as_json(references) for row in rows.values()]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile, each a value that is there or the mean of two; infinity is a value like others.

    >>> quartiles([1, 2, 3, 4, math.inf])
    (2.0, 3.0, 4.0)
    """
    ordered = sorted(map(float, values))

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return below if below == above else below + (above - below) * (place - math.floor(place))

    return at(0.25), at(0.5), at(0.75)


def faster(row: Row, than: Row) -> float:
    """How many times sooner ``row`` reaches the target than ``than``, by medians; NaN where neither does."""
    own, other = quartiles(row.times)[1], quartiles(than.times)[1]
    return other / own if math.isfinite(own) else (0.0 if math.isfinite(other) else math.nan)


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
