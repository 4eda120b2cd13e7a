"""What docs/tasks.md says of each task is what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from tests.tuner.commands.test_apply import exported
from trainables.registry import options_union
from trainables.tasks import TASKS

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "tasks.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))


def blocks(title: str) -> list[Any]:
    """The YAML blocks of a section, as data."""
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", SECTIONS[title], re.DOTALL)]


@pytest.mark.parametrize("name", TASKS)
def test_the_options_of_a_task_are_shown_with_their_defaults(name: str) -> None:
    shown = blocks(f"`{name}`")[0]["task"]
    options = TypeAdapter(options_union(TASKS)).validate_python(shown)
    assert set(shown) == set(TASKS[name].Options.model_fields)
    required = {key for key, field in TASKS[name].Options.model_fields.items() if field.is_required()}
    defaults = TASKS[name].Options(**{key: shown[key] for key in required})
    assert options == defaults


@pytest.mark.parametrize("name", TASKS)
def test_the_defaults_of_a_task_are_shown(name: str) -> None:
    (shown,) = blocks("What paired tasks share") if TASKS[name].paired else blocks(f"`{name}`")[1:]
    assert shown == yaml.safe_load(yaml.safe_dump(dict(TASKS[name].DEFAULTS)))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_an_example(name: str) -> None:
    file = DOCS.parent / "examples" / "tasks" / f"{name}.yaml"
    assert f"(../examples/tasks/{name}.yaml)" in SECTIONS[f"`{name}`"]
    assert yaml.safe_load(file.read_text())["task"]["name"] == name


def test_links_lead_somewhere() -> None:
    anchors = {f"#{title.strip('`').lower().replace(' ', '-')}" for title in SECTIONS}
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 10
    for link in links:
        assert link in anchors if link.startswith("#") else (DOCS / link).exists(), link


def test_applying_an_export_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path / "export", {"name": "super_resolution", "scale": 2}, trained=True)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    values: dict[str, Any] = {}
    exec(code, values)
    assert values["result"].shape == (3, 96, 128)
    assert torch.isfinite(values["result"]).all()
    assert values["result"].abs().max() <= 1
