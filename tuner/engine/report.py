"""How a worker's report reaches the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """A worker's report as it was sent: Tune shows searchers and schedulers a dictionary that it has flattened."""

    data: dict[str, Any]
