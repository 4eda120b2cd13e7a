"""SweepSpec: one validated object from a YAML file and ``--set`` overrides.

Everything that can be known without starting Ray is checked here, and all problems are reported together, each with file, line
and key. Relative paths in a spec are relative to the spec's own folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import yaml
from pydantic import Field, ValidationError

from search_spaces.space import Space
from trainables.data import DataOptions
from trainables.registry import Options, options_union
from tuner.problems import Problem, SpecError, from_pydantic, line_numbers
from tuner.schedulers import SCHEDULERS
from tuner.trial_config import merged

if TYPE_CHECKING:
    SchedulerOptions: TypeAlias = Any
else:
    SchedulerOptions = options_union(SCHEDULERS)


class Budget(Options):
    """How much a sweep may cost."""

    trials: int = Field(ge=1)
    """Trials over all runs of the sweep."""
    kimg: float = Field(gt=0, allow_inf_nan=False)
    """Thousand images of a trial that is not stopped early."""
    wall_minutes: float | None = Field(None, gt=0, allow_inf_nan=False)
    """After this time trials stop at their next evaluation and no more are proposed; counted anew at each resume."""


class Resources(Options):
    """What one trial asks of the cluster."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers that share each global batch."""
    cpus_per_worker: float = Field(1, gt=0)
    """CPUs of a worker, which are also its threads."""
    gpus_per_worker: float = Field(0, ge=0)
    """GPUs of a worker."""


class Finalists(Options):
    """The best trials are scored once more at the end, by another metric."""

    count: int = Field(3, ge=1)
    """How many of the best trials."""
    metric: str
    """Full name of the metric, e.g. ``fid[inception,299px,n=5000]``."""


class SweepSpec(Options):
    """One sweep: what to train on, what to try, how much to spend, where to run and where to write."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the sweep and of its folder below ``storage``."""
    task: Literal["generation"] = "generation"
    """What the generator does; "generation" makes images from noise."""
    data: DataOptions
    """The target domain's images."""
    source: str | None = None
    """Source checkpoint that every trial starts from; null trains from scratch."""
    trial: dict[str, Any]
    """The fixed part of every trial's configuration (`trainables.config.TrialConfig`)."""
    space: Any
    """Dotted path in the trial's configuration → what is tried (`search_spaces`), or the name of a shipped space."""
    budget: Budget
    scheduler: SchedulerOptions
    resources: Resources = Resources()
    isolation: Literal["warm", "fresh"] = "warm"
    """"warm": trials flow through worker groups that are started once; "fresh": a new group for each trial."""
    storage: str = "sweeps"
    """Folder, local or on a shared mount, below which the sweep's own folder is made."""
    seed: int = Field(0, ge=0)
    """Seed of proposals, initialisation, noise, augmentation and order."""
    finalists: Finalists | None = None

    @property
    def root(self) -> Path:
        """The sweep's folder."""
        return Path(self.storage) / self.name

    @property
    def base(self) -> dict[str, Any]:
        """The part of `TrialConfig` that is not searched, as data."""
        return self.trial | {
            "task": self.task,
            "resolution": self.data.resolution,
            "kimg": self.budget.kimg,
            "seed": self.seed,
            "source": self.source,
        }

    def search_space(self) -> Space:
        """The parsed space. SpaceError with every problem of it."""
        return Space.preset(self.space) if isinstance(self.space, str) else Space.parse(self.space)


def load_spec(file: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Reads, overrides and validates a spec.

    Args:
        file: a YAML file.
        overrides: ``dotted.path=value`` each, the value in YAML.

    Raises:
        SpecError: with every problem found.
    """
    # A cycle otherwise: the checks build specs' trials.
    from tuner.checks import check_spec

    text, data = _read(file)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals or not path:
            problems.append(Problem("--set", f"must look like path=value, but got {override!r}"))
            continue
        try:
            values[path] = yaml.safe_load(value)
        except yaml.YAMLError:
            problems.append(Problem(f"--set {path}", f"is not YAML: {value!r}"))
    spec = None
    try:
        # A space's keys hold dots of their own, so an override of one is looked up as it is written.
        space = {path[len("space.") :]: values.pop(path) for path in list(values) if path.startswith("space.")}
        data = merged(data, values)
        if space and isinstance(data.get("space"), dict):
            data["space"] = data["space"] | space
        spec = _resolved(SweepSpec.model_validate(data), file.parent)
    except ValidationError as error:
        problems.extend(from_pydantic(error, SweepSpec))
    except (AttributeError, TypeError):
        problems.append(Problem("--set", "sets a key below a value that is not a mapping"))
    if spec is not None:
        problems.extend(check_spec(spec))
    if problems or spec is None:
        raise SpecError(str(file), problems, line_numbers(text))
    return spec


def dump_spec(spec: SweepSpec) -> bytes:
    """The spec as a YAML file that `load_spec` reads back alike, with absolute paths."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True).encode()


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    if not file.is_file():
        near = sorted(str(p) for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        hint = f"; YAML files there: {', '.join(near)}" if near else ""
        raise SpecError(str(file), [Problem("", f"there is no such file{hint}")])
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SpecError(str(file), [Problem("", f"is not UTF-8 text: {error}")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError(str(file), [Problem("", f"YAML syntax error at {where}{error.problem}")]) from error
    if not isinstance(data, dict):
        raise SpecError(str(file), [Problem("", f"must hold a mapping of keys, but holds a {type(data).__name__}")])
    return text, data


def _resolved(spec: SweepSpec, folder: Path) -> SweepSpec:
    """The spec with its relative paths made absolute."""

    def absolute(path: str) -> str:
        return path if "://" in path or path.startswith("package:") else os.path.abspath(folder / Path(path).expanduser())

    trial = dict(spec.trial)
    if isinstance(trial.get("weights"), str) and trial["weights"] not in ("pretrained", "random"):
        trial["weights"] = absolute(trial["weights"])
    return spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"path": absolute(spec.data.path)}),
            "source": absolute(spec.source) if spec.source else None,
            "storage": absolute(spec.storage),
            "trial": trial,
        }
    )
