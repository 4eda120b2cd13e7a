"""Problems of a user's input: collected, given file, line and key, and shown all at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from trainables.registry import unknown_name


class Problem(NamedTuple):
    """One thing wrong: the dotted key (empty: the whole file) and the rule, the value and what would be valid."""

    key: str
    message: str


class SpecError(ValueError):
    """Everything wrong with a spec or with what it refers to.

    Args:
        file: where the problems are.
        problems: all of them.
        lines: dotted key → line number, where known.
    """

    def __init__(self, file: str, problems: Iterable[Problem], lines: Mapping[str, int] | None = None) -> None:
        self.file, self.problems, self.lines = file, list(dict.fromkeys(problems)), dict(lines or {})
        super().__init__(str(self))

    def __str__(self) -> str:
        rows = []
        for key, message in self.problems:
            line = self._line(key)
            place = f"{self.file}:{line}" if line else self.file
            rows.append(f"{place}: {key}: {message}" if key else f"{place}: {message}")
        return "\n".join(rows)

    def _line(self, key: str) -> int | None:
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return self.lines.get(key)


def from_pydantic(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Pydantic's errors in our words: rule, value, valid choices, nearest name."""
    return [_problem(item, model, prefix) for item in error.errors()]


def field_names(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The valid keys at ``location`` of ``model``; [] where any key is."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_of(fields[part].annotation)
        else:
            current = next((m for m in _members(current) if m.model_fields["name"].default == part), current)
    return list(getattr(current, "model_fields", {}))


def line_numbers(text: str) -> dict[str, int]:
    """Dotted key → line (from 1) of every key of a YAML text."""
    lines: dict[str, int] = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                path = f"{prefix}{key.value}"
                lines[path] = key.start_mark.line + 1
                walk(value, f"{path}.")

    walk(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return lines


def _problem(item: Any, model: type[BaseModel], prefix: str) -> Problem:
    location = tuple(item["loc"])
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    key = prefix + ".".join(str(part) for part in _without_tags(model, location))
    if kind == "extra_forbidden":
        return Problem(key, unknown_name("key", str(location[-1]), field_names(model, location[:-1])))
    if kind == "missing":
        return Problem(key, "must be given, but is missing")
    if kind in ("literal_error", "union_tag_invalid"):
        text = context.get("expected") or context["expected_tags"]
        choices = [choice.strip().strip("'") for choice in text.replace(" or ", ", ").split(",")]
        given = context.get("tag", value)
        return Problem(key, unknown_name("value", str(given), choices))
    if kind == "union_tag_not_found":
        return Problem(f"{key}.name", "must be given, but is missing")
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return Problem(key, f"{message}, but got {value!r}" if kind != "value_error" else message)


def _without_tags(model: type[BaseModel], location: tuple[Any, ...]) -> list[Any]:
    """A location without the names of union members, which are no keys of the file."""
    kept: list[Any] = []
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            kept.append(part)
            current = _model_of(fields[part].annotation)
        elif member := next((m for m in _members(current) if m.model_fields["name"].default == part), None):
            current = member
        else:
            kept.append(part)
    return kept


def _model_of(annotation: Any) -> Any:
    """The model or union of models behind an annotation such as ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = _members(annotation)
    return models[0] if len(models) == 1 else annotation


def _members(annotation: Any) -> list[Any]:
    found = []
    for part in getattr(annotation, "__args__", ()):
        if isinstance(part, type) and issubclass(part, BaseModel):
            found.append(part)
        else:
            found.extend(_members(part))
    return found
