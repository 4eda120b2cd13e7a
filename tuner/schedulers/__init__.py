"""The rules that decide at each report whether a trial goes on, and say why not. Plain arithmetic, without Ray or files.

A new one is a file with a class, and one line in SCHEDULERS. Tune's own ASHA compares the last value, keeps its rungs in memory
only (a restored sweep forgets them, ray#30838), and never stops a trial whose metric is NaN. These compare the best score so far,
give their state as JSON data, and say why.
"""

from __future__ import annotations

from typing import Any

from trainables.registry import Registry
from tuner.schedulers.no_stopping import NoStopping
from tuner.schedulers.successive_halving import SuccessiveHalving

__all__ = ["SCHEDULERS", "NoStopping", "SuccessiveHalving"]

SCHEDULERS: Registry[Any] = Registry("scheduler", {"successive_halving": SuccessiveHalving, "none": NoStopping})
