"""The metric that drives a search, of whatever kind: a set metric (``fid[...]``) or a paired one (``psnr[...]``).

What decides (scheduler, sampler, ranking) compares *scores*, of which less is always better: a metric's value, negated where
higher values are better. What people read shows values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from trainables.metrics.kinds import KINDS
from trainables.metrics.names import MetricName, parse_metric
from trainables.metrics.paired import PAIRED, PairedName, parse_paired
from trainables.registry import unknown_name

AnyMetric: TypeAlias = MetricName | PairedName


def parse_any_metric(text: str, backbones: Iterable[str] | None = None) -> AnyMetric:
    """Reads the name of a set metric or of a paired one.

    Args:
        backbones: names that may serve as extractor beside ``inception``; not checked when None.

    Raises:
        ValueError: malformed or unknown, with the nearest valid name.
    """
    kind = text.partition("[")[0].strip()
    if kind in PAIRED:
        return parse_paired(text)
    if "[" in text and kind not in KINDS:
        raise ValueError(unknown_name("metric", kind, [*KINDS, *PAIRED]))
    return parse_metric(text, backbones)


def score(metric: AnyMetric, value: float) -> float:
    """The score of a value, and, as it undoes itself, the value of a score."""
    return value if metric.lower_is_better else -value


def label(metric: AnyMetric) -> str:
    """A heading for people: ``FID``, ``PSNR``."""
    return metric.kind.upper()
