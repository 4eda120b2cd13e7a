"""What a simulated sweep is told: its space, budget and costs, what would come of training, and what decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from search_spaces.space import Space
from trainables.scoring import Metric
from tuner.schedulers import SCHEDULERS

Config: TypeAlias = Mapping[str, Any]
"""What was searched: dotted path → value, lists as tuples."""

Curves: TypeAlias = Callable[[Config, int], tuple[np.ndarray, float]]
"""(config, seed) → (scores [evaluations], less is better, not finite where the training failed; kimg from one to the next)."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The driving metric of a simulated sweep where none is known: lower is better."""

    kind: str = "score"
    lower_is_better: bool = True


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a sweep is told, whatever searches.

    Args:
        space: what is searched.
        kimg: thousand images of a trial that is not stopped.
        total_kimg: thousand images of all trials together, at which the sweep ends.
        scheduler: options of our scheduler (an entry of SCHEDULERS); the others' rungs are where its rungs are.
        trials: trials at most; there are as many as ``total_kimg`` allows when left out.
        starts: starting points for our searcher.
        metric: for the reasons of decisions.
    """

    space: Space
    kimg: float
    total_kimg: float
    scheduler: Any
    trials: int = 10**9
    starts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metric: Metric = field(default_factory=Score)

    def rule(self) -> Any:
        """Our scheduler's rule, anew."""
        return SCHEDULERS[self.scheduler.name](self.scheduler, self.kimg, self.metric)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that a group spends. The defaults for groups are measured (docs/performance.md, "Warm worker groups").

    Args:
        start_s: from the sweep's start to the first step of a group's first trial.
        hand_over_s: from a trial's end to the first step of the next one in its group.
        report_s: (config, kimg) → from a verdict, or the first step, to the report after so many thousand images more: training
            and evaluating.
    """

    report_s: Callable[[Config, float], float]
    start_s: float = 13.3
    hand_over_s: float = 0.22


def in_evaluations() -> Costs:
    """Time in evaluations: each takes 1, and nothing else takes any."""
    return Costs(report_s=lambda config, kimg: 1.0, start_s=0.0, hand_over_s=0.0)


class Method(Protocol):
    """What proposes trials and says which of them go on."""

    def suggest(self) -> tuple[int, Config] | None:
        """Number and values of a new trial, or of one that was paused and goes on; None when there is none now."""

    def report(self, report: dict[str, Any]) -> bool:
        """Takes a report, and the trial's end if it comes to it; whether the trial goes on."""


MakeMethod: TypeAlias = Callable[[Setting, int, Callable[[], float]], Method]
"""(setting, seed, clock) → a method."""
