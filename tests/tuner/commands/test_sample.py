"""`gansweep sample`: pictures of an export, and where a sweep was given in its place, what to do first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.trainables.test_exported import CONFIG, generator
from tests.tuner.command import Command, Said
from trainables.exported import enlargement, save_export
from trainables.pictures import grid, grid_size


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


def test_nothing_is_replaced_unasked(command: Command, tmp_path: Path) -> None:
    save_export(tmp_path / "best", generator().state_dict(), CONFIG)
    grid, folder = tmp_path / "grid.png", tmp_path / "each"
    for out, first in ((grid, grid), (folder, folder / "000000.png")):
        arguments = ["sample", str(tmp_path / "best"), "--n", "1", "--out", str(out)]
        assert command(*arguments).code == 0
        before = first.read_bytes()
        said = command(*arguments, "--seed", "1")
        assert said.code == 2
        what = "would be replaced" if out == grid else "is not empty"
        assert said.err == f"error: {out} {what}: choose another --out, or add --force\n"
        assert first.read_bytes() == before
        assert command(*arguments, "--seed", "1", "--force").code == 0
        assert first.read_bytes() != before
    folder = tmp_path / "empty"
    folder.mkdir()
    assert command("sample", str(tmp_path / "best"), "--n", "1", "--out", str(folder)).code == 0


def test_a_grid_too_large_to_open_is_refused_before_a_picture_is_made(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_export(tmp_path / "best", generator().state_dict(), CONFIG)
    side = CONFIG["resolution"] * enlargement(CONFIG["resolution"])
    made: list[int] = []

    def one_black(generator: object, resolution: int, n: int, *args: object, **options: object) -> Iterator[torch.Tensor]:
        made.append(n)
        yield torch.zeros(n, 3, 8, 8)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", (2 * (side + 2) + 2) * (3 * (side + 2) + 2))  # five are two wide, three high
    monkeypatch.setattr("tuner.commands.sample.in_batches", one_black)

    def sample(n: int, *arguments: str) -> Said:
        return command("sample", str(tmp_path / "best"), "--n", str(n), "--out", str(tmp_path / "grid.png"), *arguments)

    said = sample(7)
    assert said.code == 2
    assert f"--n must be at most 6 for a grid of pictures of {side} px, or it has more than " in said.err
    assert "but got 7: take a folder as --out for a file each" in said.err
    assert "--n makes even one picture too large" in sample(1, "--scale", "1000").err
    assert made == []
    assert grid_size(5, side) == grid(torch.zeros(5, 3, side, side)).shape[:0:-1]
    assert sample(6).code == 0
    assert made == [6]


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
