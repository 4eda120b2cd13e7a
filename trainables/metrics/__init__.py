"""How good generated images are: features → statistics → values, and the `Evaluator` that trials use."""

from __future__ import annotations

from trainables.metrics.driving import AnyMetric, of_n, parse_any_metric
from trainables.metrics.evaluator import Evaluator
from trainables.metrics.kinds import KINDS, Kind
from trainables.metrics.names import MetricName, parse_metric, require_same

__all__ = [
    "KINDS",
    "AnyMetric",
    "Evaluator",
    "Kind",
    "MetricName",
    "of_n",
    "parse_any_metric",
    "parse_metric",
    "require_same",
]
