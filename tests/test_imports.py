"""The direction of imports between the rooms, inside `trainables` and inside `tuner`. See "The house" in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "search_spaces": set(),
    "trainables": set(),
    "cluster": set(),
    "tuner": {"search_spaces", "trainables", "cluster"},
}
FORBIDDEN = {"search_spaces": {"ray", "torch"}, "trainables": {"ray", "optuna"}, "cluster": {"torch"}, "tuner": set()}
COMPONENTS = {"backbones", "generators", "discriminators", "losses", "data", "metrics", "tasks"}
INSIDE_TUNER = {  # a room below `tuner`: those that it may import, and the packages that it may not
    "records": (set(), {"ray", "torch", "optuna"}),
    "schedulers": ({"records"}, {"ray", "torch", "optuna"}),
    "spec": ({"schedulers"}, {"ray", "optuna"}),
    "finish": ({"records", "spec"}, {"ray.tune", "ray.train", "optuna"}),
    "engine": ({"records", "schedulers", "spec"}, set()),
    "simulate": ({"records", "schedulers", "spec", "engine"}, set()),
    "commands": ({"records", "schedulers", "spec", "finish", "engine", "simulate"}, {"ray.tune", "ray.train"}),
}
PRIVATE = ("_private", "_internal", "_raylet", "_common", "generated")
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imports(file: Path, *, at_load: bool = False) -> Iterator[str]:
    """Modules that a file imports; with ``at_load`` not those that wait inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    if at_load:
        waiting = {id(n) for f in nodes if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
        for block in nodes:
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
                waiting |= {id(n) for part in block.body for n in ast.walk(part)}
        nodes = [node for node in nodes if id(node) not in waiting]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_downhill(file: Path) -> None:
    room, *rest = file.relative_to(ROOT).parts
    for module in imports(file):
        top, *below = module.split(".")
        assert top not in ROOMS or top == room or top in ROOMS[room], f"{room} imports {module}"
        assert top not in FORBIDDEN[room] or file.name == "worker.py", f"{room} imports {module}"
        if room == "trainables" and rest[0] in COMPONENTS and top == "trainables" and below:
            assert below[0] not in COMPONENTS - {rest[0]}, f"component folder {rest[0]} imports {module}"
        if room == "trainables" and rest[0] == "layers" and top == "trainables" and below:
            assert below[0] == "layers", f"layers know no options, registries or losses, but {file.name} imports {module}"
        if room == "tuner" and rest[0] in INSIDE_TUNER and top == "tuner" and below:
            assert below[0] in INSIDE_TUNER[rest[0]][0] | {rest[0]}, f"tuner/{rest[0]} imports {module}"
        if top == "ray" and set(below) & set(PRIVATE):
            assert file.name == "ray_internals.py", f"Ray's private names belong into ray_internals.py: {module}"


TUNER_FILES = [file for file in FILES if file.relative_to(ROOT).parts[1] in INSIDE_TUNER]


@pytest.mark.parametrize("file", TUNER_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_of_the_tuner_knows_only_its_packages(file: Path) -> None:
    forbidden = INSIDE_TUNER[file.relative_to(ROOT).parts[1]][1]
    for module in imports(file):
        assert not any(module == name or module.startswith(f"{name}.") for name in forbidden), f"imports {module}"


def test_no_two_files_of_the_tuner_import_each_other() -> None:
    """No circle of any length, lazy imports included."""
    arrows = {}
    for file in FILES:
        if file.relative_to(ROOT).parts[0] == "tuner":
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            arrows[name] = {module for module in imports(file) if module.startswith("tuner.")} - {name}
    while leaves := [name for name, targets in arrows.items() if not targets & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows, "these import each other in circles"


WITHOUT = [
    # what is imported, and the packages that must not come with it
    ("tuner.spec", {"ray", "optuna", "tensorboard"}),
    ("tuner.records.trials, tuner.records.paths, tuner.records.tables, tuner.records.progress", {"ray", "torch", "optuna"}),
    ("tuner.records.tensorboard", {"ray", "torch", "optuna"}),
    ("tuner.schedulers", {"ray", "torch", "optuna"}),
    ("tuner.engine.proposals, tuner.schedulers.verdict", {"ray", "torch"}),
    ("tuner.cli", {"ray", "torch", "optuna", "pydantic", "cluster"}),
    ("tuner.commands.jobs", {"torch", "optuna", "trainables"}),
    ("tuner.commands.sample, tuner.commands.import_source, tuner.commands.apply", {"ray", "optuna", "cluster", "search_spaces"}),
    ("tuner.commands.components, tuner.commands.data", {"ray", "optuna", "cluster"}),
]


@pytest.mark.parametrize(("modules", "unwanted"), WITHOUT, ids=[modules for modules, _ in WITHOUT])
def test_what_an_import_brings(modules: str, unwanted: set[str]) -> None:
    """Parsing a spec needs no Ray, a plain record no torch, and what should start fast loads little."""
    code = f"import sys; import {modules}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not unwanted & set(done.stdout.split())
