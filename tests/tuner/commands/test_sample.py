"""`gansweep sample`: pictures of an export, and where a sweep was given in its place, what to do first."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.trainables.test_exported import CONFIG, generator
from tests.tuner.command import Command
from trainables.exported import save_export


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "a sweep").mkdir()
    (tmp_path / "a sweep" / "spec.yaml").write_text("name: a")
    return tmp_path / "a sweep"


def test_it_makes_pictures(command: Command, tmp_path: Path) -> None:
    save_export(tmp_path / "best", generator().state_dict(), CONFIG)
    said = command("sample", str(tmp_path / "best"), "--n", "4", "--out", str(tmp_path / "grid.png"))
    assert (said.code, said.out) == (0, f"4 pictures: {tmp_path / 'grid.png'}\n")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (2 * 96 + 3 * 2,) * 2


@pytest.mark.parametrize("arguments", [["sample"], ["apply", "x.png"]])
def test_a_sweep_must_be_exported_first(command: Command, sweep: Path, arguments: list[str]) -> None:
    name, *others = arguments
    said = command(name, str(sweep), *others)
    assert said.code == 2
    assert f"error: {sweep} is a sweep: make an export of it first, by gansweep export '{sweep}'" in said.err


@pytest.mark.parametrize("name", ["sample", "apply"])
def test_the_exports_of_a_sweep_are_named(command: Command, sweep: Path, name: str) -> None:
    save_export(sweep / "export" / "trial-0003", generator().state_dict(), CONFIG)
    others = ["x.png"] if name == "apply" else []
    said = command(name, str(sweep), *others)
    assert said.code == 2
    assert f"{sweep} is a sweep, and not an export. Its exports: {sweep / 'export' / 'trial-0003'}" in said.err
    said = command(name, str(sweep / "export"), *others)
    assert f"{sweep / 'export'} is a folder of exports, and not an export. Its exports: " in said.err


def test_a_folder_of_neither(command: Command, tmp_path: Path) -> None:
    said = command("sample", str(tmp_path))
    assert said.code == 2
    assert "is not an export: " in said.err
