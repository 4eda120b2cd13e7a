"""The metric that drives a search, of whatever kind: of sets (``fid[...]``), pairs (``psnr[...]``) or both (``artfid[...]``)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TypeAlias

from trainables.metrics.artfid import KIND as ARTFID
from trainables.metrics.artfid import ArtFidName, parse_artfid
from trainables.metrics.kinds import KINDS
from trainables.metrics.names import MetricName, parse_metric
from trainables.metrics.paired import PAIRED, PairedName, parse_paired
from trainables.registry import unknown_name

AnyMetric: TypeAlias = MetricName | PairedName | ArtFidName


def parse_any_metric(text: str, backbones: Collection[str] | None = None) -> AnyMetric:
    """Reads the name of any metric.

    Args:
        backbones: names that may serve as extractor beside ``inception``; not checked when None.

    Raises:
        ValueError: malformed or unknown, with the nearest valid name.
    """
    kind = text.partition("[")[0].strip()
    if kind in PAIRED:
        return parse_paired(text)
    if kind == ARTFID:
        return parse_artfid(text, backbones)
    if "[" in text and kind not in KINDS:
        raise ValueError(unknown_name("metric", kind, [*KINDS, *PAIRED, ARTFID]))
    return parse_metric(text, backbones)


def of_n(text: str, n: int) -> str:
    """The full name of the same metric from ``n`` images."""
    name = parse_any_metric(text)
    return str(ArtFidName(replace(name.fid, n=n)) if isinstance(name, ArtFidName) else replace(name, n=n))
