"""Problems of a user's input: collected, given file, line and key, and shown all at once."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from trainables.registry import unknown_name

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
PATTERNS = {NAME_PATTERN: "begin with a letter or digit and hold only letters, digits, '.', '_' and '-'"}
"""Regular expressions of text fields, and what they ask for in words."""
_SHOWN = 200  # characters of a value that a message shows


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
        overridden: dotted keys that ``--set`` gave, whose problems are not the file's.
    """

    def __init__(
        self, file: str, problems: Iterable[Problem], lines: Mapping[str, int] | None = None, overridden: Iterable[str] = ()
    ) -> None:
        self.file, self.lines, self.overridden = file, dict(lines or {}), set(overridden)
        self.problems = list(dict.fromkeys(problems))
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(row for _, row in sorted(map(self._row, self.problems), key=lambda row: row[0]))

    def _row(self, problem: Problem) -> tuple[int, str]:
        """Line in the file, 0 where there is none, and the text."""
        key, message = problem
        if key.startswith("--set"):
            return 0, f"{key}: {message}"
        if self._nearest(key, self.overridden):
            return 0, f"--set {key}: {message}"
        line = self.lines.get(self._nearest(key, self.lines), 0)
        place = f"{self.file}:{line}" if line else self.file
        return line, f"{place}: {key}: {message}" if key else f"{place}: {message}"

    @staticmethod
    def _nearest(key: str, known: Container[str]) -> str:
        """The longest of ``known`` that is ``key`` or a key above it; "" where there is none."""
        while key and key not in known:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return key


def from_pydantic(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Pydantic's errors in our words: rule, value, valid choices, nearest name."""
    return [_problem(item, model, prefix) for item in error.errors()]


def _unknown_key(model: type[BaseModel], location: tuple[Any, ...]) -> str:
    """The message; where the key is that of another component of the kind, it says so."""
    *path, key = location
    message, parent = unknown_name("key", str(key), field_names(model, tuple(path))), _annotation_at(model, path[:-1])
    kinds = {m.model_fields["name"].default: m for m in _members(parent) if "name" in m.model_fields}
    others = sorted(name for name, kind in kinds.items() if key in kind.model_fields)
    if others and path[-1] in kinds:
        message += f". {', '.join(others)} {'has' if len(others) == 1 else 'have'} {key}, but {path[-1]} has not"
    return message


def field_names(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The valid keys at ``location`` of ``model``; [] where any key is."""
    return list(getattr(_annotation_at(model, location), "model_fields", {}))


def _annotation_at(model: type[BaseModel], location: Iterable[Any]) -> Any:
    """The model at ``location``, or the union of models from which its ``name`` chooses."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_of(fields[part].annotation)
        else:
            current = next((m for m in _members(current) if m.model_fields["name"].default == part), current)
    return current


# Pydantic's kinds of error → what must hold. Placeholders are the context that pydantic gives.
_RULES = {
    "missing": "must be given, but is missing",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "finite_number": "must be finite",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
}


def _problem(item: Any, model: type[BaseModel], prefix: str) -> Problem:
    location = tuple(item["loc"])
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    parts = _without_tags(model, location)
    key = prefix + _dotted(parts)
    if kind == "extra_forbidden":
        return Problem(key, _unknown_key(model, location))
    if kind in ("literal_error", "union_tag_invalid"):
        # The choices themselves hold commas and quotes only if a component's name does.
        choices = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        what = next((part for part in reversed(parts) if isinstance(part, str)), "value").replace("_", " ")
        key = key if kind == "literal_error" else f"{key}.name"
        return Problem(key, unknown_name(what, str(context.get("tag", value)), choices))
    if kind == "union_tag_not_found":
        if not isinstance(value, Mapping):
            return Problem(key, f"must be a mapping of keys, but {_given(value)}")
        return Problem(f"{key}.name", _RULES["missing"])
    if kind == "value_error":
        return Problem(key, item["msg"].removeprefix("Value error, "))
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return Problem(key, f"must {PATTERNS[context['pattern']]}, but {_given(value)}")
    if kind in _RULES:
        rule = _RULES[kind].format(**context)
        return Problem(key, rule if kind == "missing" else f"{rule}, but {_given(value)}")
    return Problem(key, f"{item['msg'].removeprefix('Input ')}, but {_given(value)}")


def _given(value: Any) -> str:
    return "is empty" if value is None or value == "" else f"got {quoted(value)}"


def quoted(value: Any) -> str:
    """A value as Python writes it; the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _dotted(parts: Iterable[Any]) -> str:
    """``("augment", 0)`` → ``augment[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


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


def keys_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The valid keys at ``location`` below ``model``, of whichever component is chosen there; a number is a place in a list."""
    models: list[Any] = [model]
    for part in location:
        if not part.isdigit():
            fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            models = [found for field in fields for found in ([field] if isinstance(field, type) else _members(field))]
            models = [m for m in models if hasattr(m, "model_fields")]
    return sorted({field for m in models for field in m.model_fields})


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
