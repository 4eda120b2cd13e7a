"""A spec from a YAML file and ``--set`` overrides.

Everything that can be known without starting Ray is checked here, and all problems are reported together, each with file, line
and key. Relative paths in a spec are relative to the spec's own folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.space import STARTS, Space, preset_names, without_lost_starts
from tuner.spec.checks import check_spec
from tuner.spec.model import SourceChoice, SweepSpec
from tuner.spec.plain_yaml import MAX_BYTES, Document, NotPlainError, read_yaml
from tuner.spec.problems import Problem, SpecError, from_pydantic, quoted
from tuner.spec.trial_config import NotAMappingError, merged


def load_spec(file: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Reads, overrides and validates a spec.

    Args:
        file: a YAML file.
        overrides: ``dotted.path=value`` each, the value in YAML.

    Raises:
        SpecError: with every problem found.
    """
    document = _read(file)
    data, overridden, wrong = _overridden(document.data, overrides)
    problems = [*document.problems, *wrong]
    spec, wrong = _validated(data)
    spec = _resolved(spec, file.parent)  # before the checks: a source says which networks the trials have
    problems += wrong
    known = [problem.key for problem in wrong]
    problems += [
        p for p in check_spec(spec) if not any(p.key == key or p.key.startswith((f"{key}.", f"{key}[")) for key in known)
    ]
    if problems:
        raise SpecError(str(file), problems, document.lines, overridden)
    spec._written = (str(file), document.lines, frozenset(overridden))
    return spec


def _read(file: Path) -> Document:
    if file.is_dir():
        hint = f"; `gansweep resume {file}` goes on with the sweep in it" if (file / "spec.yaml").is_file() else ""
        raise SpecError(str(file), [Problem("", f"must be a YAML file, but is a folder{hint}")])
    if not file.is_file():
        near = sorted(str(p) for p in file.parent.glob("*.y*ml")) if file.parent.is_dir() else []
        hint = f"; YAML files there: {', '.join(near)}" if near else ""
        raise SpecError(str(file), [Problem("", f"there is no such file{hint}")])
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise SpecError(str(file), [Problem("", f"must be at most {MAX_BYTES:,} bytes, but has {size:,}: is it a spec?")])
        text = file.read_text(encoding="utf-8")
        document = read_yaml(text)
    except OSError as error:
        raise SpecError(str(file), [Problem("", f"cannot be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        raise SpecError(str(file), [Problem("", f"is not UTF-8 text: {error}")]) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(file, error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(str(file), [Problem("", f"YAML allows no character {error.character:#x}")], {"": line}) from error
    if document.data is None:
        raise SpecError(str(file), [Problem("", "must hold a mapping of keys, but is empty")])
    if not isinstance(document.data, dict):
        raise SpecError(str(file), [Problem("", f"must hold a mapping of keys, but holds {quoted(document.data)}")])
    return document


def _syntax_error(file: Path, error: yaml.MarkedYAMLError) -> SpecError:
    mark = error.problem_mark
    message = str(error.problem) if isinstance(error, NotPlainError) else f"YAML syntax error: {error.problem}"
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
            given = read_yaml(text)
            data = _with(data, path, given.data)
        except NotPlainError as error:
            problems.append(Problem(f"--set {path}", f"the value {error.problem}"))
        except yaml.YAMLError:
            problems.append(Problem(f"--set {path}", f"the value must be YAML, but got {quoted(text)}"))
        except NotAMappingError:
            problems.append(Problem(f"--set {path}", "is below a key that holds a value, not a mapping of keys"))
        else:
            paths.append(path)
            problems += [Problem(f"--set {path}", ": ".join(filter(None, problem))) for problem in given.problems]
    return data, paths, problems


def _with(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    if not path.startswith("space."):
        return merged(data, {path: value})
    # A space's keys hold dots of their own, so one of them is set as it is written.
    space = data.get("space")
    if isinstance(space, str) and space in preset_names():
        space = Space.preset(space).to_data()
    if not isinstance(space or {}, dict):
        raise NotAMappingError("space", space)
    space = (space or {}) | {path.removeprefix("space."): value}
    return data | {"space": without_lost_starts(space)}


# Stands in for a part of a spec that is wrong or missing, so that the other parts are checked too; passes every check.
_SOUND: dict[str, Any] = {
    "name": "unnamed",
    "data": {"path": ".", "resolution": 64},
    "trial": {},
    "budget": {"trials": 1, "kimg": 1e9},
    "scheduler": {"name": "none"},
}


def _validated(data: dict[str, Any]) -> tuple[SweepSpec, list[Problem]]:
    """The spec, and what is wrong with it by itself; wrong parts are replaced by sound ones."""
    try:
        return SweepSpec.model_validate(data), []
    except ValidationError as error:
        problems = from_pydantic(error, SweepSpec)
        places = [item["loc"] for item in error.errors(include_url=False, include_context=False, include_input=False)]
    wrong = {str(place[0]) for place in places}
    sound = _SOUND | {key: value for key, value in data.items() if key not in wrong}
    for section in wrong & {"data", "budget"}:
        if isinstance(values := data.get(section), dict):
            wrong_here = {place[1] for place in places if place[0] == section and len(place) > 1}
            sound[section] = _SOUND[section] | {key: value for key, value in values.items() if key not in wrong_here}
    return SweepSpec.model_validate(sound), problems


_SOURCES = (("source", "choice"), ("*", "when", "source"), (STARTS, "*", "source"))  # places in a space; "*" is any key


def _at(place: Sequence[str], data: Any, absolute: Callable[[str], str]) -> Any:
    """``data`` with the text at ``place``, or in a list there, made absolute; data that has no such place stays as it is."""
    if isinstance(data, list):
        return [_at(place, item, absolute) for item in data]
    if not place:
        return absolute(data) if isinstance(data, str) else data
    if not isinstance(data, dict):
        return data
    return {key: _at(place[1:], item, absolute) if place[0] in ("*", key) else item for key, item in data.items()}


def _each(absolute: Callable[[str], str], source: str | SourceChoice | None) -> str | SourceChoice | None:
    if isinstance(source, SourceChoice):
        return SourceChoice(choice=tuple(map(absolute, source.choice)))
    return absolute(source) if source else None


def _resolved(spec: SweepSpec, folder: Path) -> SweepSpec:
    """The spec with its relative paths made absolute."""

    def absolute(path: str) -> str:
        return path if "://" in path or path.startswith("package:") else os.path.abspath(folder / os.path.expanduser(path))

    trial, style = dict(spec.trial), getattr(spec.task, "style", None)
    if isinstance(trial.get("weights"), str) and trial["weights"] not in ("pretrained", "random"):
        trial["weights"] = absolute(trial["weights"])
    space = spec.space
    for place in _SOURCES:
        space = _at(place, space, absolute)
    return spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"path": absolute(spec.data.path)}),
            "source": _each(absolute, spec.source),
            "storage": absolute(spec.storage),
            "trial": trial,
            "task": spec.task.model_copy(update={"style": absolute(style)}) if style else spec.task,
            "space": space,
            "try_first": tuple(
                _at(("source",), start, absolute) if isinstance(start, dict) else start for start in spec.try_first
            ),
        }
    )
