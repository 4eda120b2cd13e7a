"""A search space as data: dotted paths in a trial's configuration, each with a dimension or conditional branches.

``suggest`` walks it in order, define-by-run: a branch is drawn only when its condition holds, and a dimension none of whose
branches hold is absent from the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import yaml

from search_spaces.branch import Branch, check_entries
from search_spaces.dimensions import Choice, Dimension, Float, Scalar, SuggestingTrial, Value, same, thaw
from search_spaces.parsing import parse_entries, to_data
from search_spaces.problems import Problem, SpaceError, unknown

STARTS = "starts"


class Row(NamedTuple):
    """One line of a table of the space: the path, the condition (empty: always), the range."""

    path: str
    when: str
    range: str


class Space:
    """What may be tried. Immutable, picklable, and equal to another space with the same dimensions in the same order.

    Args:
        entries: for each dotted path, in the order in which they are drawn, a dimension or its conditional branches.
        starts: named starting points, values by dotted path; what one leaves out is drawn.

    Raises:
        SpaceError: with all problems, when conditions name unknown or later dimensions, impossible values, or overlap, or when a
            starting point is not in the space.
    """

    def __init__(
        self,
        entries: Mapping[str, Dimension | Sequence[Branch]],
        starts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._entries: dict[str, tuple[Branch, ...]] = {
            path: tuple(item) if isinstance(item, Sequence) else (Branch(item),) for path, item in entries.items()
        }
        self.starts = {name: dict(values) for name, values in (starts or {}).items()}
        problems = check_entries(self._entries)
        if not problems:
            problems = [problem for name in self.starts for problem in self._not_in_space(f"{STARTS}.{name}", self.starts[name])]
        if problems:
            raise SpaceError(problems)

    @classmethod
    def parse(cls, data: object) -> Space:
        """The space written in YAML (the form is in `search_spaces.parsing`); its key ``starts`` holds named starting points.

        Raises:
            SpaceError: with every problem of ``data``.
        """
        starts: Any = {}
        if isinstance(data, Mapping) and STARTS in data:
            starts = data[STARTS]
            data = {path: item for path, item in data.items() if path != STARTS}
        entries, broken, problems = parse_entries(data)
        if not (isinstance(starts, Mapping) and all(isinstance(values, Mapping) for values in starts.values())):
            problems.append(Problem(STARTS, "must be names of starting points, each with values by dotted path"))
        if problems and isinstance(data, Mapping):
            # Also what is wrong between the dimensions that could be read, so that one run tells everything.
            problems.extend(check_entries(entries, broken))
            order = {str(path): index for index, path in enumerate(data)}
            problems.sort(key=lambda problem: _position(problem, order))
        if problems:
            raise SpaceError(problems)
        return cls(entries, starts)

    @classmethod
    def preset(cls, name: str) -> Space:
        """A space shipped with the package; ValueError names the nearest one if there is none of that name."""
        known = preset_names()
        if name not in known:
            raise SpaceError([Problem("", unknown("preset", name, known))])
        return cls.parse(yaml.safe_load(_preset_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")))

    def suggest(self, trial: SuggestingTrial) -> dict[str, Value]:
        """Draws one value for every dimension whose condition holds, by dotted path."""
        values: dict[str, Value] = {}
        for path in self._entries:
            branch = self._branch(path, values)
            if branch:
                values[path] = branch.dimension.suggest(trial, branch.param_name(path))
        return values

    def values_of(self, params: Mapping[str, Scalar]) -> dict[str, Value]:
        """The values behind the parameters that Optuna stored for a trial: the inverse of `params_of`.

        Raises:
            SpaceError: the parameters are not a full draw from this space (as when the space changed since).
        """
        values: dict[str, Value] = {}
        problems = []
        used = set()
        for path in self._entries:
            branch = self._branch(path, values)
            if not branch:
                continue
            name = branch.param_name(path)
            used.add(name)
            if name not in params:
                problems.append(Problem(name, "is missing in the stored trial"))
                continue
            try:
                value = branch.dimension.from_param(params[name])
            except ValueError as error:
                problems.append(Problem(name, str(error)))
                continue
            if value not in branch.dimension:
                problems.append(Problem(name, f"must lie in {branch.dimension.describe()}, but got {value!r}"))
            values[path] = value
        problems.extend(Problem(name, unknown("parameter", name, used)) for name in params if name not in used)
        if problems:
            raise SpaceError(problems)
        return values

    def params_of(self, values: Mapping[str, Any], *, partial: bool = False) -> dict[str, Scalar]:
        """The Optuna parameters for given values, to enqueue a trial; lists and tuples are taken alike.

        Args:
            partial: whether values may be missing, for the sampler to draw them.

        Raises:
            SpaceError: a value is missing, unknown, or outside its range.
        """
        given = {path: tuple(value) if isinstance(value, list) else value for path, value in values.items()}
        problems = [Problem(path, unknown("dimension", path, self._entries)) for path in given if path not in self._entries]
        params: dict[str, Scalar] = {}
        for path in self._entries:
            branch = self._branch(path, given)
            if not branch and path in given:
                problems.append(Problem(path, "is given, although none of its conditions holds"))
            elif branch and path not in given:
                problems += [] if partial else [Problem(path, "is missing")]
            elif branch and given[path] not in branch.dimension:
                problems.append(Problem(path, f"must be in {branch.dimension.describe()}, but got {thaw(given[path])!r}"))
            elif branch:
                params[branch.param_name(path)] = branch.dimension.to_param(given[path])
        if problems:
            raise SpaceError(problems)
        return params

    def branches(self, path: str) -> list[tuple[dict[str, tuple[Value, ...]], Dimension]]:
        """Each condition (dimension → allowed values; empty: always) under which ``path`` is searched, with its dimension."""
        return [(dict(branch.when), branch.dimension) for branch in self._of(path)]

    def possible(self, path: str) -> list[Value]:
        """Every value that a choice or int can take over all its branches, in order; ValueError for a float."""
        found: list[Value] = []
        for branch in self._of(path):
            dimension = branch.dimension
            if isinstance(dimension, Float):
                raise ValueError(f"the values of {path!r} cannot be listed: it is a float, {dimension.describe()}")
            listed = dimension.choices if isinstance(dimension, Choice) else range(dimension.low, dimension.high + 1)
            found.extend(value for value in listed if not any(same(value, other) for other in found))
        return found

    def describe(self) -> list[Row]:
        """Rows for a table: one for each branch."""
        return [
            Row(path, branch.condition(), branch.dimension.describe())
            for path, branches in self._entries.items()
            for branch in branches
        ]

    def to_data(self) -> dict[str, Any]:
        """The YAML form: ``Space.parse(space.to_data()) == space``."""
        data: dict[str, Any] = {path: to_data(branches) for path, branches in self._entries.items()}
        return data | ({STARTS: self.starts} if self.starts else {})

    def __contains__(self, path: object) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        # The order counts: it is the order in which conditions can refer to one another.
        if not isinstance(other, Space) or self.starts != other.starts:
            return False
        return list(self._entries.items()) == list(other._entries.items())

    __hash__ = None  # type: ignore[assignment]  # it holds dictionaries

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{row.path}: {row.range}' for row in self.describe())})"

    def _not_in_space(self, where: str, values: Mapping[str, Any]) -> list[Problem]:
        try:
            self.params_of(values, partial=True)
        except SpaceError as error:
            return [Problem(f"{where}.{problem.path}", problem.message) for problem in error.problems]
        return []

    def _branch(self, path: str, values: Mapping[str, Value]) -> Branch | None:
        return next((branch for branch in self._entries[path] if branch.holds(values)), None)

    def _of(self, path: str) -> tuple[Branch, ...]:
        if path not in self._entries:
            raise SpaceError([Problem("", unknown("dimension", path, self._entries))])
        return self._entries[path]


def preset_names() -> list[str]:
    """The names that `Space.preset` takes."""
    return sorted(file.name.removesuffix(".yaml") for file in _preset_folder().iterdir() if file.name.endswith(".yaml"))


def without_lost_starts(data: Mapping[str, Any]) -> dict[str, Any]:
    """A space as data, of which something was changed, without the starting points that are no longer in it."""
    plain = {path: item for path, item in data.items() if path != STARTS}
    starts = data.get(STARTS)
    if not isinstance(starts, Mapping):
        return dict(data)
    try:
        space = Space.parse(plain)
    except SpaceError:
        return plain  # which is then told
    return plain | {STARTS: {name: values for name, values in starts.items() if not space._not_in_space(name, values)}}


def _preset_folder() -> Any:
    return resources.files("search_spaces").joinpath("presets")


def _position(problem: Problem, order: Mapping[str, int]) -> int:
    """The place in the input of the dimension that a problem belongs to; a path may be a prefix of another's."""
    owners = [path for path in order if problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))]
    return order[max(owners, key=len)] if owners else -1
