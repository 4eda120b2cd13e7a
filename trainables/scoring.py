"""Values and scores of metrics, for whoever compares or shows them without computing any. Imports no torch.

What decides (scheduler, sampler, ranking) compares *scores*, of which less is always better: a metric's value, negated where
higher values are better. What people read shows values.
"""

from __future__ import annotations

from typing import Protocol


class Metric(Protocol):
    """A metric's full name (`trainables.metrics.AnyMetric`), as far as its values' readers need it; ``str()`` writes it out."""

    @property
    def kind(self) -> str:
        """What is measured: ``fid``, ``psnr``."""

    @property
    def lower_is_better(self) -> bool:
        """Which way is up."""


def score(metric: Metric, value: float) -> float:
    """The score of a value, and, as it undoes itself, the value of a score."""
    return value if metric.lower_is_better else -value


def label(metric: Metric) -> str:
    """A heading for people: ``FID``, ``PSNR``."""
    return metric.kind.upper()
