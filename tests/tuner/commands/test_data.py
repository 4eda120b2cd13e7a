"""`gansweep data`: the report, the cache that a sweep finds, exit codes, interruption, and that neither needs Ray."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.trainables.data.pictures import faces, twemoji
from tests.tuner.command import Command
from trainables.data import DataOptions, load_dataset, packing


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("GANSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    faces(tmp_path / "images")
    return Command(tmp_path)


def test_check_of_good_pictures(command: Command) -> None:
    images = command.folder / "images"
    Image.new("L", (300, 200)).save(images / "wide.jpg")
    said = command("data", "check", str(images), "--resolution", "128")
    assert said.code == 0
    assert said.err == ""
    for row in ("pictures 13", "sizes 72 x 72 to 300 x 200 pixels", "formats PNG 12, JPEG 1", "near-duplicates 0 groups"):
        assert row in " ".join(said.out.split())
    assert "smaller than 128 px 12 (enlarged)" in " ".join(said.out.split())
    assert "cannot be used 0" in " ".join(said.out.split())


def test_check_names_broken_files_and_near_duplicates(command: Command) -> None:
    images = command.folder / "images"
    (images / "1f600.png").write_bytes((images / "1f601.png").read_bytes()[:500])
    (images / "[bold]nothing.png").touch()
    shutil.copy(images / "1f602.png", images / "again.png")
    said = command("data", "check", str(images))
    assert said.code == 1
    assert "1f602.png, again.png" in said.out
    broken = said.out.partition("broken files")[2]
    assert "1f600.png" in broken
    assert "truncated" in broken
    assert "[bold]nothing.png" in broken
    assert "the file is empty" in broken


def test_check_as_json(command: Command) -> None:
    (command.folder / "images" / "broken.png").write_text("x")
    said = command("data", "check", str(command.folder / "images"), "--include", "1f60[0-3].png|b*", "--json")
    assert said.code == 1
    report = json.loads(said.out)
    assert report["count"] == 4
    assert report["formats"] == {"PNG": 4}
    assert report["smallest"] == [72, 72]
    assert [name for name, _ in report["bad_files"]] == ["broken.png"]
    assert said.err == ""


@pytest.mark.parametrize("verb", ["check", "pack"])
def test_bad_input(command: Command, verb: str) -> None:
    images = str(command.folder / "images")
    for arguments, message in (
        ((str(command.folder / "image"), "--resolution", "32"), "does not exist"),
        ((images, "--resolution", "32", "--include", "*.jpg"), "holds no pictures that match `include: *.jpg`"),
        ((images, "--resolution", "3"), "--resolution 3: Input should be greater than or equal to 4"),
        (("nosuch://bucket/x", "--resolution", "32"), "cannot be listed"),
    ):
        said = command("data", verb, *arguments)
        assert said.code == 2, said
        assert message in said.err
        assert said.out == ""


def test_pack_options_are_checked(command: Command) -> None:
    images = str(command.folder / "images")
    said = command("data", "pack", images, "--resolution", "32", "--background", "whit", "--on-bad-image", "never")
    assert said.code == 2
    assert "--background 'whit': background must be a CSS colour name" in said.err
    assert "--on-bad-image 'never': Input should be 'fail' or 'skip'" in said.err


def test_a_sweep_finds_what_was_packed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(command.folder)
    said = command("data", "pack", "images", "--resolution", "32")
    assert said.code == 0
    assert "12 pictures of 32 x 32 pixels, 0.0 MB, packed in" in said.out
    (array,) = (command.folder / "cache").glob("pictures-*.npy")
    assert f"file: {array}" in said.out
    monkeypatch.setattr(packing, "_build", None)  # building it again would fail
    absolute = DataOptions(path=str(command.folder / "images"), resolution=32, mirror=True)  # as a spec holds it
    assert len(load_dataset(absolute, command.folder / "cache").names) == 12
    assert "packed here before" in command("data", "pack", "images", "--resolution", "32").out


def test_pack_elsewhere(command: Command) -> None:
    out = command.folder / "shared"
    said = command("data", "pack", str(command.folder / "images"), "--resolution", "16", "--out", str(out))
    assert f"GANSWEEP_CACHE={out}" in said.out
    assert list(out.glob("pictures-*.npy"))
    assert not (command.folder / "cache").exists()


def test_pack_refuses_or_skips_broken_pictures(command: Command) -> None:
    images = command.folder / "images"
    (images / "broken.png").touch()
    said = command("data", "pack", str(images), "--resolution", "16")
    assert said.code == 1
    assert "1 of 13 pictures cannot be used" in said.err
    assert "broken.png: the file is empty" in said.err
    said = command("data", "pack", str(images), "--resolution", "16", "--on-bad-image", "skip")
    assert said.code == 0
    assert "skipped broken.png: the file is empty" in said.out


def test_pack_where_nothing_can_be_written(command: Command) -> None:
    (command.folder / "file").touch()
    said = command("data", "pack", str(command.folder / "images"), "--resolution", "16", "--out", f"{command.folder}/file/cache")
    assert said.code == 1
    assert "cannot be written to" in said.err


def gansweep(folder: Path, *arguments: str, after: str = "") -> subprocess.Popen[str]:
    """The command in a process of its own; ``after`` runs when it has ended."""
    # A test run in the background of a shell inherits that Ctrl-C is ignored.
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys\nfrom tuner.cli import app\ntry:\n    app(sys.argv[1:])\nfinally:\n    {after or 'pass'}\n"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"GANSWEEP_CACHE": str(folder), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("verb", ["check", "pack"])
def test_neither_ray_nor_optuna_is_imported(command: Command, verb: str) -> None:
    after = "print(sorted({'ray', 'optuna', 'timm', 'torchvision'} & set(sys.modules)))"
    process = gansweep(command.folder / "cache", "data", verb, str(command.folder / "images"), "--resolution", "16", after=after)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "[]"
    assert (command.folder / "cache").exists() == (verb == "pack")


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = gansweep(cache, "data", "pack", str(twemoji()), "--resolution", "512")  # takes a minute
    while not list(cache.glob(".writing-*")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.2)
    assert list(cache.glob(".writing-*"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was left behind" in err
    assert [file.suffix for file in cache.iterdir()] == [".lock"]
