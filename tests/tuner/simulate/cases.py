"""A simulated sweep of one dimension whose score is the value that was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from search_spaces.space import Space
from tuner.schedulers import SuccessiveHalving
from tuner.simulate import Costs, Setting

SPACE = Space.parse({"x": {"float": {"low": 0, "high": 10}}})


def setting(*xs: float, kimg: float = 4, total_kimg: float = 1000, **options: Any) -> Setting:
    """A sweep whose trials are ``xs``, in this order; rungs at 1 and 2 kimg, of which the best half goes on."""
    starts = {f"start {place}": {"x": x} for place, x in enumerate(xs)}
    rule = SuccessiveHalving.Options(grace_kimg=1, reduction_factor=2)
    told: dict[str, Any] = {"space": SPACE, "kimg": kimg, "total_kimg": total_kimg, "scheduler": rule, "starts": starts}
    return Setting(**told | ({"trials": len(xs)} if xs else {}) | options)


def level(config: Mapping[str, Any], seed: int) -> tuple[np.ndarray, float]:
    """Four evaluations, a kimg apart, each of which finds x."""
    return np.full(4, config["x"]), 1.0


def by_x() -> Costs:
    """x seconds for a thousand images, 10 for a group's start, 1 for a hand-over."""
    return Costs(report_s=lambda config, kimg: config["x"] * kimg, start_s=10, hand_over_s=1)
