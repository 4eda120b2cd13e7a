"""The direction of imports between the rooms, and inside `trainables`. See DESIGN in CONTRIBUTING.md."""

from __future__ import annotations

import ast
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
FILES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield node.module or ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_downhill(file: Path) -> None:
    room, *rest = file.relative_to(ROOT).parts
    for module in imports(file):
        top, *below = module.split(".")
        assert top not in ROOMS or top == room or top in ROOMS[room], f"{room} imports {module}"
        assert top not in FORBIDDEN[room] or file.name == "worker.py", f"{room} imports {module}"
        if room == "trainables" and rest[0] in COMPONENTS and top == "trainables" and below:
            assert below[0] not in COMPONENTS - {rest[0]}, f"component folder {rest[0]} imports {module}"
