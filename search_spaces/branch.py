"""A dimension under a condition, and the checks between the dimensions of a space.

Each branch has an Optuna parameter name of its own (``discriminator.frozen_depth[backbone=vgg16]``): under one name the range
never changes, which is what Optuna's ``TPESampler(group=True)`` needs to learn from conditional spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from search_spaces.dimensions import Dimension, Float, Value, label, same, thaw
from search_spaces.problems import Problem, unknown

Entries = Mapping[str, Sequence["Branch"]]

_PATH = re.compile(r"[A-Za-z_]\w*(\.([A-Za-z_]\w*|\d+))*")  # a number is a place in a list


@dataclass(frozen=True)
class Branch:
    """``dimension``, searched when every dimension named in ``when`` has one of the values listed there."""

    dimension: Dimension
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether the condition is met by the values chosen so far; a dimension that is absent meets nothing."""
        return all(
            path in values and any(same(values[path], allowed) for allowed in choices) for path, choices in self.when.items()
        )

    def overlaps(self, other: Branch) -> bool:
        """Whether some values could meet both conditions."""
        return all(
            any(same(mine, theirs) for mine in self.when[path] for theirs in other.when[path])
            for path in self.when.keys() & other.when.keys()
        )

    def condition(self) -> str:
        """The condition as text, such as ``backbone=resnet18|vgg16``; empty when there is none."""
        return ",".join(f"{path}={'|'.join(str(label(value)) for value in values)}" for path, values in self.when.items())

    def param_name(self, path: str) -> str:
        """The name under which Optuna knows this branch of the dimension at ``path``."""
        return f"{path}[{self.condition()}]" if self.when else path


def check_entries(entries: Entries, broken: Set[str] = frozenset()) -> list[Problem]:
    """All problems between the dimensions of a space.

    Args:
        entries: the branches of each path, in the order in which they are drawn.
        broken: paths that are listed but could not be read: a reference to them is not a second problem.
    """
    problems = _check_paths(list(entries))
    for position, (path, branches) in enumerate(entries.items()):
        earlier = {name: entries[name] for name in list(entries)[:position]}
        later = set(list(entries)[position:])
        sound = []
        for index, branch in enumerate(branches):
            count = len(problems)
            where = f"{path}[{index}]" if len(branches) > 1 or branch.when else path
            if not branch.when and len(branches) > 1:
                problems.append(Problem(where, "must have a `when`, because the dimension has several branches"))
            for name, values in branch.when.items():
                if name in broken:
                    continue
                problems.extend(_check_condition(f"{where}.when.{name}", name, values, earlier, later))
            if branch.when and len(problems) == count:
                sound.append((index, branch))
        problems.extend(_check_overlaps(path, sound))
    return problems


def _check_paths(paths: list[str]) -> list[Problem]:
    problems = []
    for path in paths:
        if not _PATH.fullmatch(path):
            rule = "must be a dotted path in the trial's configuration, such as feature_loss.weight"
            problems.append(Problem(path, f"{rule}, but got {path!r}"))
        parent = next((other for other in paths if path.startswith(f"{other}.")), None)
        if parent:
            problems.append(Problem(path, f"lies inside {parent!r}, which is itself a dimension: keep one of the two"))
    return problems


def _check_condition(where: str, name: str, values: tuple[Value, ...], earlier: Entries, later: Set[str]) -> list[Problem]:
    if name in later:
        return [Problem(where, f"a condition may only name a dimension listed earlier: move {name!r} up")]
    if name not in earlier:
        return [Problem(where, unknown("dimension", name, earlier))]
    dimensions = [branch.dimension for branch in earlier[name]]
    if any(isinstance(dimension, Float) for dimension in dimensions):
        return [Problem(where, f"a condition may only name a choice or an int, but {name!r} is a float")]
    can_take = " or ".join(dimension.describe() for dimension in dimensions)
    return [
        Problem(where, f"{name!r} can never be {thaw(value)!r}. Valid: {can_take}")
        for value in values
        if not any(value in dimension for dimension in dimensions)
    ]


def _check_overlaps(path: str, branches: Sequence[tuple[int, Branch]]) -> list[Problem]:
    return [
        Problem(f"{path}[{index}]", f"could hold together with branch {other}: at most one branch may hold at a time")
        for position, (index, branch) in enumerate(branches)
        for other, earlier in branches[:position]
        if branch.overlaps(earlier)
    ]
