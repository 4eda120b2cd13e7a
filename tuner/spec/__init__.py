"""The spec of a sweep, as data: what it holds, how it is read, and what must hold for it. Knows no Ray."""

from tuner.spec.loading import load_spec
from tuner.spec.model import SweepSpec, dump_spec
from tuner.spec.problems import Problem, SpecError

__all__ = ["Problem", "SpecError", "SweepSpec", "dump_spec", "load_spec"]
