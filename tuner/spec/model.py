"""SweepSpec: what a sweep is, as one validated object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import yaml
from pydantic import Field, PrivateAttr, field_validator

from search_spaces.problems import Problem as SpaceProblem
from search_spaces.problems import SpaceError
from search_spaces.space import Space, preset_names
from trainables.config import task_defaults
from trainables.data import DataOptions
from trainables.metrics import AnyMetric, parse_any_metric
from trainables.registry import Options, options_union, unknown_name
from trainables.tasks import TASKS
from tuner.schedulers import SCHEDULERS
from tuner.spec.problems import NAME_PATTERN, Problem, SpecError

if TYPE_CHECKING:
    SchedulerOptions: TypeAlias = Any
    TaskOptions: TypeAlias = Any
else:
    SchedulerOptions, TaskOptions = options_union(SCHEDULERS), options_union(TASKS)


class Budget(Options):
    """How much a sweep may cost."""

    trials: int = Field(1, ge=1)
    """Trials over all runs of the sweep; must be given where something is searched."""
    kimg: float = Field(gt=0)
    """Thousand images of a trial that is not stopped early."""
    wall_minutes: float | None = Field(None, gt=0)
    """After this time no more trials are proposed and those that run stop at their next evaluation, or a tenth of it later; a
    resume, which counts it anew, goes on with them."""


class Resources(Options):
    """What one trial asks of the cluster."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers that share each global batch."""
    cpus_per_worker: float = Field(1, gt=0)
    """CPUs of a worker, which are also its threads."""
    gpus_per_worker: float = Field(0, ge=0)
    """GPUs of a worker."""
    memory_gib_per_worker: float = Field(0, ge=0)
    """Memory that Ray reserves for each worker, in GiB; 0 reserves none."""
    one_node: bool = False
    """Whether all workers of a group must be on one node."""
    max_groups: int | None = Field(None, ge=1)
    """Worker groups at once at most; null takes all that the cluster can place."""


class Finalists(Options):
    """The best trials are scored once more at the end, by another metric."""

    count: int = Field(3, ge=1)
    """How many of the best trials."""
    metric: str
    """Full name of the metric, e.g. ``fid[inception,299px,n=5000]``."""


class SourceChoice(Options):
    """Sources to search."""

    choice: tuple[str, ...] = Field(min_length=1)
    """Files, as for ``source``."""


class SweepSpec(Options):
    """One sweep: what to train on, what to try, how much to spend, where to run and where to write."""

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the sweep and of its folder below ``storage``."""
    task: TaskOptions = TASKS["generation"].Options()
    """What the generator does, and its options (`trainables.tasks`); a name alone stands for its defaults."""
    data: DataOptions
    """The target domain's images."""
    source: str | SourceChoice | None = None
    """What every trial starts from, and whose networks it then has; ``{choice: [...]}`` searches several; null trains from
    scratch, but where ``space`` searches ``source`` under conditions."""
    source_fit: Literal["whole", "partial"] = "whole"
    """Whether a source must give all of the networks that it holds, or may give what fits."""
    trial: dict[str, Any]
    """The fixed part of every trial's configuration (`trainables.config.TrialConfig`)."""
    space: Any = None
    """Dotted path in the trial's configuration → what is tried (`search_spaces`), or the name of a shipped space; null searches
    nothing but several sources: without those, one trial of the recipe that ``trial`` is."""
    budget: Budget
    scheduler: SchedulerOptions = SCHEDULERS["none"].Options()
    """Which trials are stopped early (`tuner.schedulers`); must be given where something is searched."""
    resources: Resources = Resources()
    isolation: Literal["warm", "fresh"] = "warm"
    """"warm": trials flow through worker groups that are started once; "fresh": a new group for each trial."""
    storage: str = "sweeps"
    """Folder, local or on a shared mount, below which the sweep's own folder is made."""
    seed: int = Field(0, ge=0)
    """Seed of proposals, initialisation, noise, augmentation and order."""
    try_first: tuple[str | dict[str, Any], ...] = ()
    """Starting points that are tried before anything is proposed: names of ``space``'s own, or values by dotted path; what one
    leaves out is drawn. They count among ``budget.trials``."""
    finalists: Finalists | None = None
    """How the best trials are scored once more; null leaves it out."""
    retries: int = Field(3, ge=0)
    """Infrastructure failures of a trial without a new report in between, after which it is given up."""
    breaker: int = Field(5, ge=1)
    """Failures in a row, of whatever trials, without one report between them, after which the sweep pauses."""
    evaluation_budget: float | None = Field(None, gt=0, le=1)
    """Evaluation time over training time, e.g. 0.1. The sweep then measures once and chooses the metrics' n and the cadence
    for all trials; null takes both as they are written in ``trial.evaluation``."""

    @field_validator("task", mode="before")
    @classmethod
    def _named(cls, task: Any) -> Any:
        return {"name": task} if isinstance(task, str) else task

    _written: tuple[str, dict[str, int], frozenset[str]] = PrivateAttr(default=("spec", {}, frozenset()))
    """File, lines of its keys, and keys that ``--set`` gave: where `error` says that a problem is."""

    def error(self, problems: Sequence[Problem]) -> SpecError:
        """The error that says, for each problem of this spec, where it was written."""
        return SpecError(self._written[0], problems, *self._written[1:])

    @property
    def root(self) -> Path:
        """The sweep's folder."""
        return Path(self.storage) / self.name

    @property
    def base(self) -> dict[str, Any]:
        """The part of `TrialConfig` that is not searched, as data."""
        task = self.task.model_dump(mode="json")
        return task_defaults(self.trial | {"task": task}) | {
            "resolution": self.data.resolution,
            "kimg": self.budget.kimg,
            "seed": self.seed,
            "source": self.source if isinstance(self.source, str) else None,
            "source_fit": self.source_fit,
        }

    @property
    def sources(self) -> tuple[str, ...]:
        """All that trials may start from."""
        if isinstance(self.source, SourceChoice):
            return self.source.choice
        if self.source is not None:
            return (self.source,)
        try:
            space = self.search_space()
            return tuple(map(str, space.possible("source"))) if "source" in space else ()
        except ValueError:  # `check_spec` tells what is wrong with the space
            return ()

    @property
    def searches(self) -> bool:
        """Whether trials differ at all."""
        return self.space is not None or isinstance(self.source, SourceChoice)

    @property
    def metric(self) -> AnyMetric:
        """The metric that drives the search."""
        return parse_any_metric(self.base["evaluation"]["metric"])

    def starts(self) -> dict[str, dict[str, Any]]:
        """The starting points to try first, by name.

        Raises:
            SpaceError: an unknown name, or values that are not in the space.
        """
        space, found = self.search_space(), dict[str, dict[str, Any]]()
        for start in self.try_first:
            if isinstance(start, str) and start not in space.starts:
                raise SpaceError([SpaceProblem("", _unknown_start(start, space))])
            name, values = (start, space.starts[start]) if isinstance(start, str) else (_digest(start), start)
            space.params_of(values, partial=True)
            found[name] = values
        return found

    def search_space(self) -> Space:
        """The parsed space. SpaceError with every problem of it."""
        data = Space.preset(self.space).to_data() if isinstance(self.space, str) else self.space
        if data is None:
            if not isinstance(self.source, SourceChoice):
                return Space({})
            data = {}
        if isinstance(self.source, SourceChoice) and isinstance(data, Mapping):
            own = {"source": {"choice": list(self.source.choice)}}
            data = own | dict(data) | own  # first, so that conditions may name it, and above what `check_spec` refuses
        return Space.parse(data)


def _unknown_start(name: str, space: Space) -> str:
    """The message; where a preset has it, that an override of its space may have left it out."""
    message = unknown_name("starting point", name, space.starts)
    shipped = ", ".join(preset for preset in preset_names() if name in Space.preset(preset).starts)
    return message + (f". {shipped} has it (--set space.… leaves out those that no longer fit)" if shipped else "")


def _digest(values: dict[str, Any]) -> str:
    """A name for a starting point that has none, by what it is: a resumed sweep may list others before it."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def dump_spec(spec: SweepSpec) -> bytes:
    """The spec as a YAML file that `load_spec` reads back alike, with absolute paths."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True).encode()
