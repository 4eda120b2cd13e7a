"""Asynchronous successive halving (Li et al. 2020) on kimg, by the best score so far."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from trainables.registry import Options
from trainables.scoring import Metric, label, score
from tuner.records.text import shown


class SuccessiveHalvingOptions(Options):
    """Options of `SuccessiveHalving`."""

    name: Literal["successive_halving"] = "successive_halving"
    grace_kimg: float = Field(gt=0, allow_inf_nan=False)
    """No trial is stopped before it has seen this many thousand images: the first rung."""
    reduction_factor: float = Field(3, gt=1, allow_inf_nan=False)
    """η: of the trials at a rung the best 1/η go on; each rung is η times as far as the one before."""


class SuccessiveHalving:
    """A trial that reaches a rung goes on when it is among the best 1/η of those that have reached it so far.

    Itself included: the first one always does. It never waits for others.
    """

    Options = SuccessiveHalvingOptions

    def __init__(self, options: SuccessiveHalvingOptions, max_kimg: float, metric: Metric) -> None:
        self.metric = metric
        self.reduction_factor = options.reduction_factor
        self.rungs: list[tuple[float, dict[int, float]]] = []  # kimg → best score by trial number
        self.stopped: dict[int, str] = {}  # trial number → why
        self._ordered: list[list[float]] = []  # the scores at each rung, best first
        self._state: list[Any] = []
        kimg = options.grace_kimg
        while kimg < max_kimg * (1 - 1e-9):
            self.rungs.append((kimg, {}))
            self._ordered.append([])
            kimg *= options.reduction_factor

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        """Why trial ``number`` must stop at this report; None when it goes on. The same report asked again is answered alike."""
        if number in self.stopped:
            return self.stopped[number]
        for (rung, values), ordered in zip(self.rungs, self._ordered, strict=True):
            if kimg < rung * (1 - 1e-9) or number in values:
                continue
            values[number] = score_best
            bisect.insort(ordered, score_best)
            survivors = max(1, math.floor(len(values) / self.reduction_factor))
            place = bisect.bisect_left(ordered, score_best) + 1
            if place > survivors:
                best = shown(score(self.metric, score_best))
                self.stopped[number] = (
                    f"best {label(self.metric)} {best} is {_ordinal(place)} of {len(values)} trials at the rung of {rung:g} kimg"
                    f"; the best {survivors} {'go' if survivors > 1 else 'goes'} on"
                )
            self._state.append([number, rung, score_best, self.stopped.get(number)])
            if number in self.stopped:
                return self.stopped[number]
        return None

    def state(self) -> list[Any]:
        """What a resumed sweep needs, as JSON data: an entry for each trial at each rung, which only grows."""
        return self._state

    def forgot(self, numbers: Iterable[int]) -> list[int]:
        """Which of these trials, which were stopped, it knows nothing of."""
        return [number for number in numbers if number not in self.stopped]

    def restore(self, state: Sequence[Any]) -> None:
        """Takes `state` up again; rungs that the spec no longer has are passed over."""
        places = {rung: place for place, (rung, _) in enumerate(self.rungs)}
        for number, rung, score_best, reason in state:
            if rung in places:
                self.rungs[places[rung]][1][number] = score_best
                bisect.insort(self._ordered[places[rung]], score_best)
            if reason is not None:
                self.stopped[number] = reason
        self._state = [*self._state, *state]


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
