"""The real searcher and scheduler over learning curves that are known beforehand, on a simulated clock."""

from __future__ import annotations

from tuner.simulate.setting import Costs, Setting, in_evaluations
from tuner.simulate.simulation import Outcome, Simulation

__all__ = ["Costs", "Outcome", "Setting", "Simulation", "in_evaluations"]
