"""YAML data to the branches of a space.

One form only, so that every spec reads alike:

    backbone: {choice: [resnet18, vgg16]}
    feature_loss.weight: {float: {low: 0.001, high: 100, log: true}}
    discriminator.frozen_depth:
      - {when: {backbone: resnet18}, int: {low: 0, high: 4}}
      - {when: {backbone: [vgg16]}, int: {low: 0, high: 5}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces.branch import Branch
from search_spaces.dimensions import KINDS, Choice, Dimension, Value, freeze, thaw
from search_spaces.problems import Problem, unknown

_WHEN = "when"
_FORMS = "{float: {low: …, high: …}}, {int: {low: …, high: …}} or {choice: […]}"


def parse_entries(data: object) -> tuple[dict[str, tuple[Branch, ...]], set[str], list[Problem]]:
    """The branches of every dimension that could be read, the paths that could not, and why."""
    entries: dict[str, tuple[Branch, ...]] = {}
    problems: list[Problem] = []
    if not isinstance(data, Mapping):
        return {}, set(), [Problem("", f"a search space must be a mapping of paths to dimensions, but got {data!r}")]
    if not data:
        return {}, set(), [Problem("", "a search space must have at least one dimension, but it is empty")]
    broken = set()
    for path, item in data.items():
        found: list[Problem] = []
        branches = _parse_branches(str(path), item, found)
        if found:
            broken.add(str(path))
        else:
            entries[str(path)] = branches
        problems.extend(found)
    return entries, broken, problems


def to_data(branches: tuple[Branch, ...]) -> Any:
    """The YAML form of one dimension."""
    if len(branches) == 1 and not branches[0].when:
        return _dimension_to_data(branches[0].dimension)
    return [{_WHEN: thaw_when(branch), **_dimension_to_data(branch.dimension)} for branch in branches]


def thaw_when(branch: Branch) -> dict[str, Any]:
    """A condition as YAML data, always in the form of a list of values."""
    return {path: [thaw(value) for value in values] for path, values in branch.when.items()}


def _dimension_to_data(dimension: Dimension) -> dict[str, Any]:
    kind = next(name for name, cls in KINDS.items() if isinstance(dimension, cls))
    if isinstance(dimension, Choice):
        return {kind: [thaw(choice) for choice in dimension.choices]}
    return {kind: dimension.model_dump(exclude_defaults=True)}


def _parse_branches(path: str, item: object, problems: list[Problem]) -> tuple[Branch, ...]:
    if not isinstance(item, list):
        branch = _parse_branch(path, item, problems)
        return (branch,) if branch else ()
    if not item:
        problems.append(Problem(path, "a list of branches must have at least one, but it is empty"))
    parsed = [_parse_branch(f"{path}[{index}]", part, problems) for index, part in enumerate(item)]
    return tuple(branch for branch in parsed if branch)


def _parse_branch(where: str, item: object, problems: list[Problem]) -> Branch | None:
    if not isinstance(item, Mapping):
        rule = f"a dimension must be {_FORMS} (to fix a value, set it in the trial's configuration and not in the space)"
        problems.append(Problem(where, f"{rule}, but got {item!r}"))
        return None
    count = len(problems)
    valid = [*KINDS, _WHEN]
    problems.extend(Problem(f"{where}.{key}", unknown("key", key, valid)) for key in item if key not in valid)
    kinds = [key for key in item if key in KINDS]
    if len(kinds) != 1 and len(problems) == count:
        problems.append(Problem(where, f"must have exactly one of {', '.join(KINDS)}, but got {', '.join(kinds) or 'none'}"))
    when = _parse_when(f"{where}.{_WHEN}", item[_WHEN], problems) if _WHEN in item else {}
    dimension = _parse_dimension(where, kinds[0], item[kinds[0]], problems) if len(kinds) == 1 else None
    return Branch(dimension, when) if dimension and len(problems) == count else None


def _parse_when(where: str, item: object, problems: list[Problem]) -> dict[str, tuple[Value, ...]]:
    if not isinstance(item, Mapping) or not item:
        problems.append(Problem(where, f"must be a mapping of a dimension to its values, but got {item!r}"))
        return {}
    when = {}
    for path, values in item.items():
        if isinstance(values, Mapping) or values == []:
            problems.append(Problem(f"{where}.{path}", f"must be a value or a list of values, but got {values!r}"))
        when[str(path)] = freeze(values) if isinstance(values, list) else (values,)
    return when


def _parse_dimension(where: str, kind: str, item: object, problems: list[Problem]) -> Dimension | None:
    fields = {"choices": item} if kind == "choice" else item
    if not isinstance(fields, Mapping):
        problems.append(Problem(f"{where}.{kind}", f"must be a mapping {{low: …, high: …, log: …}}, but got {item!r}"))
        return None
    try:
        return KINDS[kind].model_validate(fields)
    except ValidationError as error:
        known = list(KINDS[kind].model_fields)
        problems.extend(_to_problem(f"{where}.{kind}", known, detail) for detail in error.errors())
        return None


def _to_problem(where: str, known: list[str], detail: Any) -> Problem:
    """Pydantic's finding in our form: the rule and the value, no library jargon."""
    key = ".".join(str(part) for part in detail["loc"] if part != "choices")
    place = f"{where}.{key}" if key else where
    if detail["type"] == "extra_forbidden":
        return Problem(place, unknown("key", key, known))
    if detail["type"] == "missing":
        return Problem(place, "is required")
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    got = "" if "but got" in message or "must differ" in message or "a string although" in message else detail["input"]
    return Problem(place, f"{message}, but got {got!r}" if got != "" else message)
