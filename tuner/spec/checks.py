"""What must hold between a spec's own parts, whatever the world is like (for that see `tuner.spec.preflight`)."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from search_spaces.dimensions import Choice
from search_spaces.problems import SpaceError
from search_spaces.space import Space
from trainables.backbones import BACKBONES
from trainables.config import NETWORKS, TrialConfig
from trainables.metrics import parse_any_metric
from trainables.metrics.artfid import ArtFidName
from trainables.metrics.paired import PairedName
from trainables.registry import unknown_name
from trainables.source import architecture_of
from trainables.tasks import TASKS
from tuner.spec.model import SweepSpec
from tuner.spec.problems import Problem, from_pydantic, keys_at, quoted
from tuner.spec.trial_config import NotAMappingError, merged

_SET_ELSEWHERE = {
    "task": "task",
    "resolution": "data.resolution",
    "kimg": "budget.kimg",
    "seed": "seed",
    "source": "source",
    "source_fit": "source_fit",
}
_OF_NETWORKS = {*NETWORKS, "regularisers", "generator_regularisers"}
_MAX_EVALUATIONS = 10_000  # of a trial
_MAX_RUNGS = 1000
_MAX_COMBINATIONS = 1000  # of sources, backbones and conditions of one branch that are gone through


def check_spec(spec: SweepSpec) -> list[Problem]:
    """Everything that does not fit together, without looking at the disk."""
    problems = [
        Problem(f"trial.{key}", f"is set by {elsewhere!r}, not here")
        for key, elsewhere in _SET_ELSEWHERE.items()
        if key in spec.trial
    ]
    if not problems:
        problems.extend(_search_problems(spec))
    if spec.resources.workers > 1 and 0 < spec.resources.gpus_per_worker < 1:
        rule = "must be 0, 1 or more with two workers or more: each needs a GPU of its own, because NCCL refuses two on one GPU"
        problems.append(Problem("resources.gpus_per_worker", f"{rule}, but got {spec.resources.gpus_per_worker:g}"))
    if spec.finalists:
        problems.extend(_metric_problem(spec, "finalists.metric", spec.finalists.metric))
    problems.extend(_left_out(spec))
    grace = getattr(spec.scheduler, "grace_kimg", None)
    if grace is not None and grace >= spec.budget.kimg:
        problems.append(
            Problem("scheduler.grace_kimg", f"must be less than budget.kimg ({spec.budget.kimg:g}), but got {grace:g}")
        )
    elif grace is not None and (factor := getattr(spec.scheduler, "reduction_factor", math.inf)) < math.inf:
        rungs = (math.log(spec.budget.kimg) - math.log(grace)) / math.log(factor)
        if rungs > _MAX_RUNGS:
            rule = f"must give at most {_MAX_RUNGS:,} rungs from scheduler.grace_kimg to budget.kimg"
            problems.append(Problem("scheduler.reduction_factor", f"{rule}, but {factor:g} gives {rungs:,.0f}"))
    return problems


def _left_out(spec: SweepSpec) -> Iterator[Problem]:
    """What a search needs to be told; a spec that searches nothing has one trial and no need of it."""
    if spec.searches:
        for key, parent in (("budget.trials", spec.budget), ("scheduler", spec)):
            if key.rpartition(".")[2] not in parent.model_fields_set:
                yield Problem(key, "must be given where something is searched, but is missing")
    elif spec.budget.trials > 1:
        rule = "must be 1 where there is no space, as all trials would be the same"
        yield Problem("budget.trials", f"{rule}, but got {spec.budget.trials}")


def _search_problems(spec: SweepSpec) -> Iterator[Problem]:
    try:
        space = spec.search_space()
    except SpaceError as error:
        # A misspelt backbone often is what makes a condition impossible; it is named first.
        yield from _unknown_backbones(spec.space)
        for path, message in error.problems:
            yield Problem(f"space.{path}" if path else "space", message)
        # What is fixed can be judged without the space, but for what is fixed beside something searched.
        searched = {str(path).partition(".")[0] for path in spec.space} if isinstance(spec.space, dict) else set()
        fixed = [_trial(spec.base, {"source": source}) for source in spec.sources or (spec.base["source"],)]
        for problem in _trials_that_cannot_be(spec, [({}, data) for data in fixed]):
            if not searched & set(problem.key.removeprefix("trial.").split(".")[:1]):
                yield problem
        return
    try:
        spec.starts()
    except SpaceError as error:
        for path, message in error.problems:
            yield Problem("try_first", f"{path}: {message}" if path else message)
    wrong = [*_unsearchable(spec, space), *_below_values(space, spec.base)]
    yield from wrong
    left_out = {problem.key.removeprefix("space.") for problem in wrong}
    left_out -= {"source"} if spec.source else set()  # where it is searched twice, its choice at the top says what trials have
    draws = [{path: value for path, value in values.items() if path not in left_out} for values in _corners(space)]
    known = "source" not in left_out
    trials = [(values, _trial(spec.base, values) if known else _without_networks(merged(spec.base, values))) for values in draws]
    yield from _trials_that_cannot_be(spec, trials)
    yield from _missed_sources(spec, draws if known else ())


def _below_values(space: Space, base: dict[str, Any]) -> Iterator[Problem]:
    """Dimensions below a key that the trial's fixed part gives a value, and no mapping of keys."""
    for path in space:
        try:
            merged(base, {path: None})
        except NotAMappingError as error:
            what = f"a list of more than {error.place} parts" if error.place else "a mapping of keys or be left out"
            rule = f"is below 'trial.{error.key}', which must then be {what}"
            yield Problem(f"space.{path}", f"{rule}, but got {quoted(error.value)}")


def _unknown_backbones(space: Any) -> Iterator[Problem]:
    choices = space.get("backbone", {}) if isinstance(space, dict) else {}
    choices = choices.get("choice") if isinstance(choices, dict) else None
    for name in choices if isinstance(choices, list) else ():
        try:
            BACKBONES[str(name)]
        except ValueError as error:
            yield Problem("space.backbone", str(error))


def example_configs(spec: SweepSpec) -> list[TrialConfig]:
    """Configurations that between them hold every choice and the ends of every range of the space."""
    return [TrialConfig.model_validate(_trial(spec.base, values)) for values in _corners(spec.search_space())]


def _trial(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A trial's configuration as data; without its networks where its source, whose they would be, cannot be read.

    What other networks lack would be no second fault.
    """
    data = merged(base, values)
    return data if _unreadable(data["source"]) is None else _without_networks(data)


def _unreadable(source: Any) -> str | None:
    """What is wrong with a trial's source."""
    try:
        _ = None if source is None else architecture_of(source)
    except ValueError as error:
        return str(error)
    return None


def _missed_sources(spec: SweepSpec, draws: Iterable[dict[str, Any]]) -> Iterator[Problem]:
    """Sources that cannot be read and without which trials make no sense. (All others: `tuner.spec.source_fit`.)"""
    for values in draws:
        data = merged(spec.base, values)
        if (problem := _unreadable(data["source"])) and _built(data)[0] is None:
            yield Problem("source" if spec.source else "space.source", problem)


def _without_networks(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in _OF_NETWORKS}


def _unsearchable(spec: SweepSpec, space: Space) -> Iterator[Problem]:
    for path in space:
        *parents, leaf = path.split(".")
        known = keys_at(TrialConfig, parents)
        if path == "backbone" and not all(isinstance(dimension, Choice) for _, dimension in space.branches(path)):
            yield Problem(f"space.{path}", "must be a choice of names")
        elif path == "source" and spec.source is None and not _are_files(space):
            yield Problem("space.source", "must be a choice of files")
        elif path == "source" and not (spec.source and isinstance(spec.space, dict) and path in spec.space):
            continue  # what is searched is the spec's `source: {choice: [...]}`, or the space's own and there is no other
        elif "task" in (path, *parents[:1]):
            yield Problem(f"space.{path}", "cannot be searched: all trials do the same, what 'task' says")
        elif parents[:1] == ["evaluation"] or path == "evaluation":
            yield Problem(f"space.{path}", "cannot be searched: all trials are judged alike, by 'trial.evaluation'")
        elif path in _SET_ELSEWHERE:
            yield Problem(f"space.{path}", f"cannot be searched: it is set by {_SET_ELSEWHERE[path]!r}")
        elif leaf not in known:
            yield Problem(f"space.{path}", unknown_name("key of a trial", leaf, known))


def _are_files(space: Space) -> bool:
    dimensions = [dimension for _, dimension in space.branches("source")]
    return all(isinstance(d, Choice) and all(isinstance(file, str) for file in d.choices) for d in dimensions)


def _trials_that_cannot_be(spec: SweepSpec, trials: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Problem]:
    """What is wrong with each of ``trials``: (searched values, configuration as data)."""
    for values, data in trials:
        config, found = _built(data)
        yield from (Problem(_place(key, values), message) for key, message in found)
        if config is None:
            continue
        workers, parts = spec.resources.workers, config.speed.micro_batches
        if config.batch_size % (workers * parts):
            rule = f"must be a multiple of resources.workers ({workers}), which share it evenly"
            if parts > 1:
                rule = f"must be a multiple of resources.workers ({workers}) times speed.micro_batches ({parts})"
            yield Problem(_place("batch_size", values), f"{rule}, but got {config.batch_size}")
        elif (share := config.batch_size // (workers * parts)) % (group := getattr(config.discriminator, "group", 1)):
            rule = f"must leave each of {workers} workers parts that are a multiple of {group}, D's mbstd_group"
            of_parts = f" in {parts} micro-batches" if parts > 1 else ""
            yield Problem(_place("batch_size", values), f"{rule}, but {config.batch_size}{of_parts} leaves {share}")
        yield from _metric_problem(spec, "trial.evaluation.metric", config.evaluation.metric)
        for name in config.evaluation.also:
            yield from _metric_problem(spec, "trial.evaluation.also", name)
        every = config.evaluation.every_kimg
        if every > spec.budget.kimg:
            yield Problem("trial.evaluation.every_kimg", f"must be at most budget.kimg ({spec.budget.kimg:g}), but got {every:g}")
        elif spec.budget.kimg > every * _MAX_EVALUATIONS:
            rule = f"must be at most {_MAX_EVALUATIONS:,} times trial.evaluation.every_kimg ({every:g})"
            yield Problem("budget.kimg", f"{rule}, but got {spec.budget.kimg:g}")


def _built(data: dict[str, Any]) -> tuple[TrialConfig | None, list[Problem]]:
    """A configuration, or what is wrong with it: by itself, and then with its parts beside each other."""
    try:
        return TrialConfig.model_validate(data), []
    except ValidationError as error:
        found = _folded(error)
    # Pydantic compares parts only where each is sound, so those that are not give way to their defaults.
    sound = _without(data, [key.partition("[")[0].split(".") for key, _ in found])
    try:
        TrialConfig.model_validate(sound)
    except ValidationError as error:
        found += [problem for problem in _folded(error) if problem.key not in {key for key, _ in found}]
    return None, found


def _without(data: dict[str, Any], paths: list[list[str]]) -> dict[str, Any]:
    """``data`` without the values at ``paths``; those that are not there are passed over."""
    rest = copy.deepcopy(data)
    for *parents, leaf in paths:
        target: Any = rest
        for parent in parents:
            target = target.get(parent) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target.pop(leaf, None)
    return rest


def _place(key: str, values: dict[str, Any]) -> str:
    """Where in the spec a key of a trial's configuration was given."""
    if key in _SET_ELSEWHERE:
        return _SET_ELSEWHERE[key]
    searched = [path for path in values if key == path or key.startswith((f"{path}.", f"{path}["))]
    return f"space.{max(searched, key=len)}" if searched else f"trial.{key}"


def _folded(error: ValidationError) -> list[Problem]:
    """Pydantic's problems; the one of the whole configuration split at its own keys."""
    found = []
    for problem in from_pydantic(error, TrialConfig):
        if problem.key:
            found.append(problem)
        else:
            found.extend(Problem(*part.split(": ", 1)) for part in re.split(r"; (?=[a-z_.]+: )", problem.message))
    return found


def _metric_problem(spec: SweepSpec, key: str, name: str) -> list[Problem]:
    try:
        metric = parse_any_metric(name, BACKBONES)
    except ValueError as error:
        return [Problem(key, str(error))]
    task = TASKS[spec.task.name]
    if isinstance(metric, PairedName) and not task.paired:
        fit = ", ".join(other for other in TASKS if TASKS[other].paired)
        return [Problem(key, f"{name} needs a target for each picture, as in {fit}, but the task is {spec.task.name!r}")]
    if isinstance(metric, ArtFidName) and task.DEFAULTS["evaluation"]["metric"].partition("[")[0] != metric.kind:
        return [Problem(key, f"{name} is for the task 'style_transfer', but the task is {spec.task.name!r}")]
    return []


class _Forced:
    """Stands in for an Optuna trial: gives chosen values where a parameter has one, else the first or lowest."""

    def __init__(self, forced: dict[str, Any]) -> None:
        self.forced = forced

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        value = self.forced.get(name.partition("[")[0])
        return value if value in choices else choices[0]

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        value = self.forced.get(name.partition("[")[0])
        return value if value is not None and low <= value <= high else low

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        value = self.forced.get(name.partition("[")[0])
        return value if value is not None and low <= value <= high else low


_ALL_OVER = ("source", "backbone")
"""Where these are searched, what fits one need not fit the other."""


def _corners(space: Space) -> Iterator[dict[str, Any]]:
    """Draws that between them hold, under every condition, source and backbone, each choice and the ends of each range.

    Yields values by path.
    """
    # One that is no choice is refused, and there are none to go through.
    kinds = [path for path in _ALL_OVER if path in space and all(isinstance(d, Choice) for _, d in space.branches(path))]
    listed = [space.possible(path) for path in kinds]
    if not len(space):
        yield {}
    for path in space:
        for when, dimension in space.branches(path):
            if isinstance(dimension, Choice):
                ends = [dimension.to_param(choice) for choice in dimension.choices]
            else:
                ends = [dimension.low, dimension.high]
            for values in _combinations([*listed, *when.values()]):
                of_kinds = dict(zip(kinds, values, strict=False))
                given = dict(zip(when, values[len(kinds) :], strict=True))
                if any(given.get(kind, value) != value for kind, value in of_kinds.items()):
                    continue
                if path in kinds and of_kinds[path] != listed[kinds.index(path)][0]:
                    continue
                for end in ends:
                    yield space.suggest(_Forced(of_kinds | given | {path: end}))


def _combinations(lists: list[Sequence[Any]]) -> Iterable[tuple[Any, ...]]:
    """Every combination of one value of each list; where there are too many of them, enough to hold every value once."""
    if math.prod(map(len, lists)) <= _MAX_COMBINATIONS:
        return itertools.product(*lists)
    return (tuple(values[index % len(values)] for values in lists) for index in range(max(map(len, lists))))
