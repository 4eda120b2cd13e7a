"""Asynchronous successive halving (Li et al. 2020) on kimg, by the best score so far."""

from __future__ import annotations

import math
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
        kimg = options.grace_kimg
        while kimg < max_kimg * (1 - 1e-9):
            self.rungs.append((kimg, {}))
            kimg *= options.reduction_factor

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        """Why trial ``number`` must stop at this report; None when it goes on. The same report asked again is answered alike."""
        if number in self.stopped:
            return self.stopped[number]
        for rung, values in self.rungs:
            if kimg < rung * (1 - 1e-9) or number in values:
                continue
            values[number] = score_best
            survivors = max(1, math.floor(len(values) / self.reduction_factor))
            place = sorted(values.values()).index(score_best) + 1
            if place > survivors:
                best = shown(score(self.metric, score_best))
                self.stopped[number] = (
                    f"best {label(self.metric)} {best} is {_ordinal(place)} of {len(values)} trials at the rung of {rung:g} kimg"
                    f"; the best {survivors} {'go' if survivors > 1 else 'goes'} on"
                )
                return self.stopped[number]
        return None

    def state(self) -> dict[str, Any]:
        """What a resumed sweep needs, as JSON data."""
        rungs = [[rung, {str(number): best for number, best in values.items()}] for rung, values in self.rungs]
        return {"rungs": rungs, "stopped": {str(number): reason for number, reason in self.stopped.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes `state` up again; rungs that the spec no longer has are dropped."""
        known = dict(state.get("rungs", ()))  # nothing of it where the sweep ran under another scheduler before
        self.rungs = [(rung, {int(k): v for k, v in known.get(rung, {}).items()}) for rung, _ in self.rungs]
        self.stopped = {int(number): reason for number, reason in state.get("stopped", {}).items()}


def _ordinal(n: int) -> str:
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{suffix}"
