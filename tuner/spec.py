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
from pydantic import Field, PrivateAttr, ValidationError, field_validator

from search_spaces.space import Space, preset_names
from trainables.config import with_defaults
from trainables.data import DataOptions
from trainables.registry import Options, options_union
from trainables.tasks import TASKS
from tuner.problems import NAME_PATTERN, Problem, SpecError, from_pydantic, line_numbers, repeated_keys
from tuner.schedulers import SCHEDULERS
from tuner.trial_config import merged

if TYPE_CHECKING:
    SchedulerOptions: TypeAlias = Any
    TaskOptions: TypeAlias = Any
else:
    SchedulerOptions, TaskOptions = options_union(SCHEDULERS), options_union(TASKS)


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

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the sweep and of its folder below ``storage``."""
    task: TaskOptions = TASKS["generation"].Options()
    """What the generator does, and its options (`trainables.tasks`); a name alone stands for its defaults."""
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
    """How the best trials are scored once more; null leaves it out."""
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
        return with_defaults(self.trial | {"task": task}) | {
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
    problems = repeated_keys(text)
    data, overridden, wrong = _overridden(data, overrides)
    problems += wrong
    spec, wrong = _validated(data)
    problems += wrong
    known = [problem.key for problem in wrong]
    problems += [
        p for p in check_spec(spec) if not any(p.key == key or p.key.startswith((f"{key}.", f"{key}[")) for key in known)
    ]
    if problems:
        raise SpecError(str(file), problems, line_numbers(text), overridden)
    spec = _resolved(spec, file.parent)
    spec._written = (str(file), line_numbers(text), frozenset(overridden))
    return spec


def dump_spec(spec: SweepSpec) -> bytes:
    """The spec as a YAML file that `load_spec` reads back alike, with absolute paths."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True).encode()


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    if file.is_dir():
        hint = f"; `gansweep resume {file}` goes on with the sweep in it" if (file / "spec.yaml").is_file() else ""
        raise SpecError(str(file), [Problem("", f"must be a YAML file, but is a folder{hint}")])
    if not file.is_file():
        near = sorted(str(p) for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        hint = f"; YAML files there: {', '.join(near)}" if near else ""
        raise SpecError(str(file), [Problem("", f"there is no such file{hint}")])
    try:
        text = file.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except OSError as error:
        raise SpecError(str(file), [Problem("", f"cannot be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise SpecError(str(file), [Problem("", f"is not UTF-8 text: {error}")]) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(file, error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(str(file), [Problem("", f"YAML allows no character {error.character:#x}")], {"": line}) from error
    if data is None:
        raise SpecError(str(file), [Problem("", "must hold a mapping of keys, but is empty")])
    if not isinstance(data, dict):
        raise SpecError(str(file), [Problem("", f"must hold a mapping of keys, but holds {data!r}")])
    return text, data


def _syntax_error(file: Path, error: yaml.MarkedYAMLError) -> SpecError:
    mark, message = error.problem_mark, f"YAML syntax error: {error.problem}"
    if "\\t" in message:
        message += "; YAML is indented by spaces, not by tabs"
    if mark is None:
        return SpecError(str(file), [Problem("", message)])
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        message += f" ({error.context} that begins on line {error.context_mark.line + 1})"
    return SpecError(str(file), [Problem("", f"column {mark.column + 1}: {message}")], {"": mark.line + 1})


def _overridden(data: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """The file's data with each ``path=value`` set in it, the paths that were set, and what is wrong with the others."""
    paths: list[str] = []
    problems: list[Problem] = []
    for override in overrides:
        path, equals, text = (part.strip() for part in override.partition("="))
        if not equals or not path:
            problems.append(Problem(f"--set {override}", "must look like path=value, such as budget.trials=20"))
            continue
        try:
            value = yaml.safe_load(text)
            data = _with(data, path, value)
        except yaml.YAMLError:
            problems.append(Problem(f"--set {path}", f"the value must be YAML, but got {text!r}"))
        except (AttributeError, TypeError):
            problems.append(Problem(f"--set {path}", "is below a key that holds a value, not a mapping of keys"))
        else:
            paths.append(path)
    return data, paths, problems


def _with(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    if not path.startswith("space."):
        return merged(data, {path: value})
    # A space's keys hold dots of their own, so one of them is set as it is written.
    space = data.get("space")
    if isinstance(space, str) and space in preset_names():
        space = Space.preset(space).to_data()
    return data | {"space": (space or {}) | {path.removeprefix("space."): value}}


# Stands in for a part of a spec that is wrong or missing, so that the other parts are checked too; passes every check.
_SOUND: dict[str, Any] = {
    "name": "unnamed",
    "data": {"path": ".", "resolution": 64},
    "trial": {},
    "space": {},
    "budget": {"trials": 1, "kimg": 1e9},
    "scheduler": {"name": "none"},
}


def _validated(data: dict[str, Any]) -> tuple[SweepSpec, list[Problem]]:
    """The spec, and what is wrong with it by itself; wrong parts are replaced by sound ones."""
    try:
        return SweepSpec.model_validate(data), []
    except ValidationError as error:
        problems = from_pydantic(error, SweepSpec)
    keys = {problem.key for problem in problems}
    wrong = {key.partition(".")[0].partition("[")[0] for key in keys}
    sound = _SOUND | {key: value for key, value in data.items() if key not in wrong}
    for section in wrong & {"data", "budget"}:
        if isinstance(values := data.get(section), dict):
            sound[section] = _SOUND[section] | {key: value for key, value in values.items() if f"{section}.{key}" not in keys}
    return SweepSpec.model_validate(sound), problems


def _resolved(spec: SweepSpec, folder: Path) -> SweepSpec:
    """The spec with its relative paths made absolute."""

    def absolute(path: str) -> str:
        return path if "://" in path or path.startswith("package:") else os.path.abspath(folder / Path(path).expanduser())

    trial, style = dict(spec.trial), getattr(spec.task, "style", None)
    if isinstance(trial.get("weights"), str) and trial["weights"] not in ("pretrained", "random"):
        trial["weights"] = absolute(trial["weights"])
    return spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"path": absolute(spec.data.path)}),
            "source": absolute(spec.source) if spec.source else None,
            "storage": absolute(spec.storage),
            "trial": trial,
            "task": spec.task.model_copy(update={"style": absolute(style)}) if style else spec.task,
        }
    )
