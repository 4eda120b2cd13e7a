"""The rule that stops nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from trainables.registry import Options
from trainables.scoring import Metric


class NoStoppingOptions(Options):
    """Options of `NoStopping`."""

    name: Literal["none"] = "none"


class NoStopping:
    """Every trial runs to its end, unless its losses or its metric are not finite."""

    Options = NoStoppingOptions

    def __init__(self, options: NoStoppingOptions, max_kimg: float, metric: Metric) -> None:
        pass

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        """Never stops a trial."""
        return None

    def state(self) -> list[Any]:
        """Nothing."""
        return []

    def forgot(self, numbers: Iterable[int]) -> list[int]:
        """None: it stopped nobody, so whoever was stopped was by another rule."""
        return []

    def restore(self, state: Sequence[Any]) -> None:
        """Nothing."""
