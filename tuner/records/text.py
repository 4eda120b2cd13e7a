"""How values read: of metrics, and of what is searched."""

from __future__ import annotations

import math
from typing import Any


def shown(value: float) -> str:
    """A metric's value for people: FIDs go to a tenth, what is below 10 (as KIDs are) to three digits."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def plain(value: Any) -> Any:
    """A searched value as a table's cell: lists of layers become "a+b"."""
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else value


def show(value: Any) -> str:
    """A searched value, short."""
    return f"{value:.3g}" if isinstance(value, float) else str(plain(value)) or "none"
