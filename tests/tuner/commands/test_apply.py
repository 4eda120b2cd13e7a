"""`gansweep apply`: pictures of every kind and size in, PNG files out; what cannot be done is named, and the rest is done."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.trainables.data.pictures import encoded, faces, quadrants
from tests.tuner.command import Command, in_a_fresh_process
from trainables.exported import apply, load_export, save_export, task_of
from trainables.generators import GENERATORS
from trainables.networks import build_generator, build_task
from trainables.pictures import grid
from trainables.tasks import TASKS
from tuner.commands import apply as apply_command


def exported(folder: Path, task: dict[str, Any], *, trained: bool = False, **more: Any) -> Path:
    """An export at 32 px, by default of a generator that corrects nothing: its output is the task's baseline, bit for bit."""
    options = GENERATORS["unet"].Options(depth=1, channels=2)
    task_options = TASKS[task["name"]].Options(**task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        generator = build_generator(options, build_task(task_options, 32), "efficientnet_lite0")
        if trained:
            torch.nn.init.normal_(generator.decoder.to_image.weight, std=0.2)  # type: ignore[union-attr, arg-type]
    config = {
        "task": task_options.model_dump(mode="json"),
        "generator": options.model_dump(mode="json"),
        "backbone": "efficientnet_lite0",
        "resolution": 32,
    }
    save_export(folder, generator.state_dict(), config | more, grid(torch.zeros(1, 3, 32, 32)))
    return folder


@pytest.fixture
def denoiser(tmp_path: Path) -> Path:
    return exported(tmp_path / "denoiser", {"name": "denoising"})


@pytest.fixture
def enlarger(tmp_path: Path) -> Path:
    return exported(tmp_path / "enlarger", {"name": "super_resolution", "scale": 2})


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def test_folders_files_and_archives_of_any_size(command: Command, enlarger: Path) -> None:
    folder = command.folder / "mine"
    (folder / "sub").mkdir(parents=True)
    quadrants(40, 25).save(folder / "a.png")
    quadrants(7, 3).save(folder / "sub" / "b.TIFF")
    quadrants(1, 1).save(command.folder / "c.webp", lossless=True)
    with zipfile.ZipFile(command.folder / "d.zip", "w") as archive:
        archive.writestr("inside/d.jpg", encoded(quadrants(12, 10), "JPEG"))
    out = command.folder / "out" / "deep"
    arguments = [str(folder), str(command.folder / "c.webp"), str(command.folder / "d.zip"), "--out", str(out)]
    said = command("apply", str(enlarger), *arguments)
    assert (said.code, said.out, said.err) == (0, f"4 pictures: {out}\n", "")
    sizes = {str(file.relative_to(out)): pixels(file).shape[:2] for file in out.rglob("*.*")}
    assert sizes == {"a.png": (50, 80), "sub/b.png": (6, 14), "c.png": (2, 2), "inside/d.png": (20, 24)}


def test_the_generator_is_applied(command: Command, tmp_path: Path) -> None:
    export = exported(tmp_path / "export", {"name": "denoising"}, trained=True)
    said = command("apply", str(export), str(command.folder / "images"), "--out", str(tmp_path / "out"))
    assert said.code == 0
    generator, config = load_export(export)
    for file in (command.folder / "images").iterdir():
        canvas = Image.new("RGBA", (72, 72), "white")
        levels = rgb(Image.alpha_composite(canvas, Image.open(file).convert("RGBA")))
        picture = torch.from_numpy(levels.copy()).permute(2, 0, 1).float() / 127.5 - 1
        expected = ((apply(generator, task_of(config), picture) + 1) * 127.5).round().byte()
        found = pixels(tmp_path / "out" / file.name)
        assert np.array_equal(found, expected.permute(1, 2, 0).numpy())
        assert not np.array_equal(found, levels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(command: Command, denoiser: Path, orientation: int) -> None:
    from PIL.ImageOps import exif_transpose

    exif = Image.Exif()
    exif[0x0112] = orientation
    file = command.folder / "turned.png"
    quadrants(20, 12).save(file, exif=exif)
    assert command("apply", str(denoiser), str(file), "--out", str(command.folder / "out")).code == 0
    assert np.array_equal(pixels(command.folder / "out" / "turned.png"), np.asarray(exif_transpose(Image.open(file))))


def test_every_mode(command: Command, denoiser: Path) -> None:
    folder = command.folder / "modes"
    folder.mkdir()
    image = quadrants(8, 6)
    for mode in ("1", "L", "P", "RGBA", "LA"):
        image.convert(mode).save(folder / f"{mode}.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "16.png")
    image.convert("CMYK").save(folder / "CMYK.tif")
    assert command("apply", str(denoiser), str(folder), "--out", str(command.folder / "out")).code == 0
    found = {file.stem: pixels(file) for file in (command.folder / "out").iterdir()}
    for mode in ("1", "L", "P", "RGBA", "LA", "CMYK"):
        assert np.array_equal(found[mode], rgb(image.convert(mode))), mode
    assert np.array_equal(found["16"], rgb(image.convert("L")))


@pytest.mark.parametrize(("more", "colour"), [({}, (255, 255, 255)), ({"background": "#102030"}, (16, 32, 48))])
def test_transparency_lies_on_the_background_of_training(
    command: Command, tmp_path: Path, more: dict[str, str], colour: tuple[int, ...]
) -> None:
    export = exported(tmp_path / "export", {"name": "denoising"}, **more)
    Image.new("RGBA", (5, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert command("apply", str(export), str(tmp_path / "clear.png"), "--out", str(tmp_path / "out")).code == 0
    assert np.array_equal(pixels(tmp_path / "out" / "clear.png"), np.full((4, 5, 3), colour))


def test_inpainting_makes_what_is_transparent(command: Command, tmp_path: Path) -> None:
    export = exported(tmp_path / "export", {"name": "inpainting"}, trained=True)
    folder = command.folder / "torn"
    folder.mkdir()
    picture = quadrants(24, 16)
    hole = Image.new("L", picture.size, 255)
    hole.paste(0, (3, 2, 12, 9))
    torn = picture.copy()
    torn.putalpha(hole)
    torn.save(folder / "torn.png")
    picture.save(folder / "whole.png")
    said = command("apply", str(export), str(folder), "--out", str(tmp_path / "out"))
    assert said.code == 1
    assert (
        f"error: 1 picture could not be used:\n  {folder}/whole.png: inpainting needs pictures with transparent pixels"
        in said.err
    )
    found, original = pixels(tmp_path / "out" / "torn.png"), np.asarray(picture)
    known = np.asarray(hole) == 255
    assert np.array_equal(found[known], original[known])
    assert not np.array_equal(found[~known], original[~known])
    assert not (tmp_path / "out" / "whole.png").exists()


@pytest.mark.parametrize("task", [{"name": "colorization"}, {"name": "style_transfer", "style": "anywhere"}])
def test_the_other_tasks(command: Command, tmp_path: Path, task: dict[str, str]) -> None:
    export = exported(tmp_path / "export", task, trained=True)
    assert command("apply", str(export), str(faces(tmp_path / "few", 2)), "--out", str(tmp_path / "out")).code == 0
    assert [pixels(file).shape for file in (tmp_path / "out").iterdir()] == [(72, 72, 3)] * 2


def test_bad_pictures_are_named_and_the_others_done(command: Command, denoiser: Path) -> None:
    images, out = command.folder / "images", command.folder / "out"
    (images / "empty.png").touch()
    (images / "half.png").write_bytes((images / "1f600.png").read_bytes()[:400])
    (images / "dangling.png").symlink_to(images / "nowhere")
    said = command("apply", str(denoiser), str(images), "--out", str(out), "--json")
    assert said.code == 1
    data = json.loads(said.out)
    assert {key: data[key] for key in ("export", "task", "out")} == {
        "export": str(denoiser),
        "task": "denoising",
        "out": str(out),
    }
    assert [one["picture"] for one in data["failed"]] == [str(images / f"{name}.png") for name in ("dangling", "empty", "half")]
    assert [one["reason"] for one in data["failed"]][:2] == ["cannot be read: No such file or directory", "the file is empty"]
    assert "3 pictures could not be used" in said.err
    assert len(data["pictures"]) == len(list(out.iterdir())) == 12
    first = str(images / "1f600.png")
    assert data["pictures"][0] == {"picture": first, "file": str(out / "1f600.png"), "width": 72, "height": 72}


def test_an_archive_that_cannot_be_read_is_one_of_them(command: Command, denoiser: Path) -> None:
    (command.folder / "bad.zip").write_bytes(b"no archive")
    out = command.folder / "out"
    said = command("apply", str(denoiser), str(command.folder / "bad.zip"), str(command.folder / "images"), "--out", str(out))
    assert (said.code, said.out) == (1, f"12 pictures: {out}\n")
    assert f"  {command.folder}/bad.zip: archive bad.zip cannot be read" in said.err


def test_two_pictures_of_one_name(command: Command, denoiser: Path) -> None:
    images, out = command.folder / "images", command.folder / "out"
    quadrants().save(images / "1f600.bmp")
    said = command("apply", str(denoiser), str(images), "--out", str(out))
    assert said.code == 1
    assert f"{images}/1f600.png: 1f600.png is that of {images}/1f600.bmp already: give them in two calls" in said.err
    assert np.array_equal(pixels(out / "1f600.png"), np.asarray(quadrants()))


def test_nothing_is_written_outside_of_out(command: Command, denoiser: Path) -> None:
    data, folder = encoded(quadrants(4, 4), "PNG"), command.folder / "evil"
    folder.mkdir()
    with tarfile.open(command.folder / "evil.tar", "w") as archive:
        for name in ("x/../../evil.png", f"{folder}/evil.png", "good.png"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pq.write_table(pa.table({"image": [{"bytes": data, "path": "../../../evil.png"}]}), command.folder / "evil.parquet")
    out = folder / "out" / "deep"
    places = [str(command.folder / name) for name in ("evil.tar", "evil.parquet")]
    said = command("apply", str(denoiser), *places, "--out", str(out))
    assert said.code == 1
    assert said.err.count("its name leads out of the results' folder") == 2
    assert [str(file.relative_to(folder)) for file in folder.rglob("*.png")] == ["out/deep/good.png"]
    assert not list(command.folder.glob("*.png"))


def test_pictures_are_never_replaced(command: Command, denoiser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = command.folder / "images"
    before = {file: file.read_bytes() for file in images.iterdir()}
    monkeypatch.chdir(command.folder)
    for given, out in ((images, images), (images, images / "sub"), ("images", "images/."), (images / "1f600.png", images)):
        said = command("apply", str(denoiser), str(given), "--out", str(out))
        assert said.code == 2
        assert f"--out {Path(out)} is among the pictures of {given}, which results could replace" in said.err
    assert {file: file.read_bytes() for file in images.iterdir()} == before


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        (
            {"name": "inpainting"},
            (1250, 801),
            "1250 x 801 pixels are 1.0 Mpx, but at most 1 Mpx are made at once, and the task 'inpainting' looks at the whole",
        ),
    ],
)
def test_huge_pictures_that_tiles_cannot_make_are_refused_before_they_are_decoded(
    command: Command, tmp_path: Path, task: dict[str, Any], size: tuple[int, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = exported(tmp_path / "export", task)
    Image.new("RGB", size).save(tmp_path / "huge.png")
    monkeypatch.setattr(apply_command, "Parts", lambda *_: pytest.fail("it was decoded"))
    said = command("apply", str(export), str(tmp_path / "huge.png"), "--out", str(tmp_path / "out"), "--max-megapixels", "1")
    assert said.code == 1
    assert message in said.err
    assert "shrink it, or raise --max-megapixels" in said.err


def test_what_is_no_bound_is_done(command: Command, enlarger: Path) -> None:
    Image.new("RGB", (500, 500)).save(command.folder / "large.png")
    arguments = ["--out", str(command.folder / "out"), "--max-megapixels", "1"]
    assert command("apply", str(enlarger), str(command.folder / "large.png"), *arguments).code == 0
    assert pixels(command.folder / "out" / "large.png").shape == (1000, 1000, 3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("task", [{"name": "denoising"}, {"name": "super_resolution", "scale": 4}])
def test_a_large_picture_is_made_of_tiles(
    command: Command, tmp_path: Path, task: dict[str, Any], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In four to six of them, at 1 Mpx: the same as at once, and a file as Pillow's."""
    export = exported(tmp_path / "export", task, trained=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    side = 4 if "scale" in task else 1
    levels = np.random.default_rng(0).integers(0, 256, (1300 // side, 1700 // side, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "large.png", exif=exif)
    for out, most in (("tiles", "1"), ("whole", "9")):
        options = ["--out", str(tmp_path / out), "--max-megapixels", most]
        assert command("apply", str(export), str(tmp_path / "large.png"), *options).code == 0
    tiles, whole = (pixels(tmp_path / out / "large.png").astype(int) for out in ("tiles", "whole"))
    assert tiles.shape == ((1300, 1700, 3) if orientation == 1 else (1700, 1300, 3))
    assert np.abs(tiles - whole).max() <= 1, "by rounding"
    assert (tiles != whole).mean() < 1e-3
    assert [file.name for file in (tmp_path / "tiles").iterdir()] == ["large.png"]


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a minute and a half of a processor of its own
def test_a_hundred_megapixels_within_four_gigabytes(denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak of a fresh process, as the kernel counts it: `getrusage` would begin with that of its parent."""
    row = np.random.default_rng(0).integers(0, 256, (1, 10_000, 3), dtype=np.uint8)
    Image.fromarray(np.repeat(row, 10_000, axis=0)).save(tmp_path / "huge.jpg", quality=80)
    script = (
        "import pathlib, re, sys; from tuner.cli import main\n"
        "sys.argv = ['gansweep', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    arguments = ["apply", str(denoiser), str(tmp_path / "huge.jpg"), "--out", str(tmp_path / "out")]
    said = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert int(said.stdout.split()[-1]) < 4 * 2**20, "kilobytes"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow warns of such pictures
    with Image.open(tmp_path / "out" / "huge.png") as picture:
        assert picture.size == (10_000, 10_000)


def test_all_wrong_places_are_named_before_anything_is_made(command: Command, denoiser: Path) -> None:
    (command.folder / "empty").mkdir()
    out = command.folder / "out"
    given = [str(command.folder / name) for name in ("images", "nowhere.png", "empty")]
    said = command("apply", str(denoiser), *given, "--out", str(out))
    assert said.code == 2
    assert f"data path '{given[1]}' does not exist" in said.err
    assert f"data path '{given[2]}' holds no pictures (it is empty)" in said.err
    assert not out.exists()


def test_what_cannot_be_applied(command: Command, denoiser: Path, tmp_path: Path) -> None:
    options = GENERATORS["compact"].Options(z_dim=4, channels=4)
    with torch.random.fork_rng(devices=[]):
        generator = build_generator(options, build_task(TASKS["generation"].Options(), 32), "efficientnet_lite0")
    config = {"task": {"name": "generation"}, "generator": options.model_dump(), "backbone": "vgg16", "resolution": 32}
    save_export(tmp_path / "noise", generator.state_dict(), config)
    images, noise = str(command.folder / "images"), tmp_path / "noise"
    for arguments, message in (
        ([str(noise), images], f"{noise} makes pictures from noise and takes none: use gansweep sample {noise}"),
        ([images, images], f"{images} is not an export"),
        ([str(denoiser), images, "--device", "gpu"], "--device gpu cannot be used: "),
        ([str(denoiser), images, "--device", "meta"], "--device meta cannot be used: "),
        ([str(denoiser), images, "--max-megapixels", "0"], "--max-megapixels"),
        ([str(denoiser)], "Missing argument"),
        ([str(denoiser), images, "--out", f"{denoiser}/config.json"], "config.json"),
    ):
        said = command("apply", *arguments)
        assert (said.code, said.out) == (2, ""), said
        assert message in said.err
    said = command("sample", str(denoiser))
    assert said.code == 2
    assert "use `gansweep apply EXPORT PICTURE...`" in said.err


def test_ctrl_c(command: Command, denoiser: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return make(*arguments)

    make = apply_command._make
    monkeypatch.setattr(apply_command, "_make", interrupted)
    out = command.folder / "out"
    said = command("apply", str(denoiser), str(command.folder / "images"), "--out", str(out))
    assert said.code == 130
    assert f"interrupted; 2 pictures done: {out}" in said.err
    assert len(list(out.iterdir())) == 2


@pytest.mark.slow
def test_a_fresh_process_loads_neither_ray_nor_the_search(denoiser: Path, tmp_path: Path) -> None:
    images, out = faces(tmp_path / "few", 2), tmp_path / "out"
    assert in_a_fresh_process("apply", denoiser, images, "--out", out) == [f"2 pictures: {out}", "[]"]
    assert len(list(out.iterdir())) == 2
