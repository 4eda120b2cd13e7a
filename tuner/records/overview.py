"""How a sweep stands, read from its folder alone: while it runs, from another process or machine, without Ray and torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuner.records.paths import SweepPaths
from tuner.records.record import State


@dataclass(frozen=True)
class DrivingMetric:
    """The metric that ranks a sweep's trials, as its leaderboard names it (`trainables.scoring.Metric`)."""

    name: str
    lower_is_better: bool

    @property
    def kind(self) -> str:
        return self.name.partition("[")[0]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Overview:
    """A sweep in a few numbers."""

    folder: Path
    name: str
    trials: int  # that its budget allows
    counts: dict[State, int]  # trials in each state
    metric: DrivingMetric | None  # None before the first report
    best: float  # value of the metric; NaN before the first
    best_trial: int | None
    exports: list[Path] = field(default_factory=list)

    @property
    def ended(self) -> int:
        """Trials that are over."""
        return sum(self.counts.values()) - self.counts[State.RUNNING]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to train."""
        return self.ended >= self.trials and not self.counts[State.RUNNING]

    def as_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "sweep": str(self.folder),
            "name": self.name,
            "trials": self.trials,
            "states": {state.value: count for state, count in self.counts.items()},
            "metric": str(self.metric) if self.metric else None,
            "best": self.best if math.isfinite(self.best) else None,
            "best_trial": self.best_trial,
            "exports": [str(folder) for folder in self.exports],
        }


def overview(paths: SweepPaths) -> Overview:
    """How the sweep stands by its spec and its leaderboard, which is written within seconds of a change.

    Raises:
        ValueError: one of the two cannot be read as what it should be.
    """
    folder = paths.folder
    try:
        spec = yaml.safe_load((folder / paths.SPEC).read_text(encoding="utf-8"))
        name, trials = str(spec["name"]), int(spec["budget"]["trials"])
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise ValueError(f"{folder / paths.SPEC} is not the spec of a sweep: {error!r}") from None
    counts, metric, best, best_trial = dict.fromkeys(State, 0), None, math.nan, None
    if paths.storage.exists(paths.LEADERBOARD):
        try:
            board = json.loads(paths.storage.read_bytes(paths.LEADERBOARD))
            metric = DrivingMetric(board["metric"], board["lower_is_better"])
            for row in board["trials"]:
                counts[State(row["state"])] += 1
            if board["trials"] and board["trials"][0]["best"] is not None:
                best, best_trial = float(board["trials"][0]["best"]), int(board["trials"][0]["number"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{folder / paths.LEADERBOARD} is damaged: {error!r}") from None
    exports = sorted(folder.glob("export/*/generator.safetensors"))
    return Overview(folder, name, trials, counts, metric, best, best_trial, [file.parent for file in exports])
