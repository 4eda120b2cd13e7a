"""A trial's files: what is kept, what is replaced, and that what comes back is what was written."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.trainables.small import differences, small_config
from trainables.checkpoint import FORMAT, TrialFiles, preview_name
from trainables.data import ImageDataset
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.storage import Storage

PREVIEW = png(grid(torch.zeros(4, 3, 8, 8)))


def state(value: float) -> dict[str, object]:
    return {"ema": {"w": torch.full((2,), value)}, "generator": {"w": torch.full((2,), -value)}}


def test_a_real_trainers_state_round_trips(dataset: ImageDataset, tmp_path: Path) -> None:
    trainer = GanTrainer(small_config(), dataset)
    trainer.step()
    files = TrialFiles(Storage(tmp_path))
    report = {"step": 1, "score": 3.5, "score_best": 3.5, "problem": None, "metrics": {"fid[x,64px,n=2]": 3.5}, "last": False}
    files.save(trainer.state_dict(), report, png(grid(trainer.sample(torch.zeros(4, 16)))), is_best=True)
    loaded = files.load(1)
    assert differences(loaded["trainer"], trainer.state_dict()) == []
    assert loaded["report"] == report
    assert differences(files.load_best()["ema"], trainer.ema.state_dict()) == []
    assert Image.open(io.BytesIO(files.storage.read_bytes(preview_name(1)))).size == (70, 70)  # 2 of 32 and 3 borders of 2


def test_the_newest_is_kept_and_the_best_stays_until_a_better_one(tmp_path: Path) -> None:
    files = TrialFiles(Storage(tmp_path))
    assert files.newest_step() is None
    with pytest.raises(FileNotFoundError):
        files.load_best()
    for step, best in ((5, True), (10, True), (15, False)):
        files.save(state(step), {"step": step}, PREVIEW, is_best=best)
        assert files.newest_step() == step
    assert differences(files.load(15)["trainer"], state(15)) == []
    assert differences(files.load_best(), {"ema": state(10)["ema"], "report": {"step": 10}, "format": FORMAT}) == []
    previews = [preview_name(step) for step in (5, 10, 15)]
    assert files.storage.list() == ["best.pt", "checkpoint_00000015.pt", *previews]


def test_a_death_between_the_writes_leaves_a_checkpoint_to_resume_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TrialFiles(Storage(tmp_path))
    files.save(state(5), {"step": 5}, PREVIEW, is_best=True)
    write = files.storage.write_parts

    def dies(name: str, parts: Iterable[bytes | memoryview]) -> None:
        if name == "checkpoint_00000010.pt":
            *_, _ = parts
            raise OSError("killed")
        write(name, parts)

    monkeypatch.setattr(files.storage, "write_parts", dies)
    with pytest.raises(OSError, match="killed"):
        files.save(state(10), {"step": 10}, PREVIEW, is_best=True)
    again = TrialFiles(Storage(tmp_path))
    assert again.newest_step() == 5
    assert differences(again.load(5)["trainer"], state(5)) == []


REPORT = {"step": 5, "number": None, "score": math.nan, "score_best": 0.1 + 0.2, "metrics": {"fid": math.inf}, "problem": "a ß"}


def test_a_checkpoint_is_written_beside_its_evaluation_and_is_there_when_that_has_ended(tmp_path: Path) -> None:
    tmp_path, files, sizes = tmp_path / "beside", TrialFiles(Storage(tmp_path / "beside")), []
    large = state(1.0) | {"generator": {"w": torch.arange(100_000.0)}}
    with files.saving(large, 5, lambda: PREVIEW, {"a": 1}) as saving:
        for _ in range(500):  # the evaluation
            parts = list(tmp_path.glob("checkpoint_*.part"))
            sizes += [part.stat().st_size for part in parts]
            if sizes and sizes[-1] >= 400_000:
                break
            time.sleep(0.02)
        assert sizes[-1] >= 400_000, "the tensors are there already"
        assert files.storage.list() == []
        saving.finish(REPORT, is_best=True)
        assert files.storage.list() == ["best.pt", "checkpoint_00000005.pt", preview_name(5)]
    at_once = TrialFiles(Storage(tmp_path.parent / "at once"))
    at_once.save(large, REPORT, PREVIEW, is_best=True, config={"a": 1})
    for name in files.storage.list():
        assert files.storage.read_bytes(name) == at_once.storage.read_bytes(name), name
    found = files.load(5)
    assert differences(found["trainer"], large) == []
    assert repr(found["report"]) == repr(REPORT), "NaN too, and every digit"
    assert found["config"] == {"a": 1}


def test_of_an_evaluation_that_fails_nothing_is_left(tmp_path: Path) -> None:
    files = TrialFiles(Storage(tmp_path))
    files.save(state(5), {"step": 5}, PREVIEW, is_best=True)
    before = files.storage.list()
    with pytest.raises(ArithmeticError), files.saving(state(10), 10, lambda: PREVIEW):
        raise ArithmeticError
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert differences(files.load(5)["trainer"], state(5)) == []


@pytest.mark.parametrize("when", ["beside the evaluation", "after it"])
def test_a_disk_that_was_full_is_written_to_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    files, full = TrialFiles(Storage(tmp_path)), [True]
    write = files.storage.write_parts

    def refusing(name: str, parts: Iterable[bytes | memoryview]) -> None:
        if full[0]:
            if when == "after it":
                *_, _ = parts
            raise OSError(28, "No space left on device")
        write(name, parts)

    monkeypatch.setattr(files.storage, "write_parts", refusing)
    with files.saving(state(5), 5, lambda: PREVIEW) as saving:
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                saving.finish({"step": 5}, is_best=True)
        full[0] = False
        saving.finish({"step": 5}, is_best=True)
    assert differences(files.load(5)["trainer"], state(5)) == []
    assert files.storage.list() == ["best.pt", "checkpoint_00000005.pt", preview_name(5)]


def test_another_format_and_a_damaged_file_are_refused_by_name(tmp_path: Path) -> None:
    files = TrialFiles(Storage(tmp_path))
    files.storage.save("checkpoint_00000001.pt", {"format": 1})
    with pytest.raises(ValueError, match=rf"checkpoint format must be {FORMAT}, but got 1 in "):
        files.load(1)
    files.storage.write_bytes("best.pt", b"not a checkpoint")
    with pytest.raises(ValueError, match=r"best\.pt is damaged"):
        files.load_best()


def test_a_grid_shows_the_pictures_in_rows() -> None:
    images = torch.stack([torch.full((3, 2, 2), value) for value in (-1.0, 0.0, 1.0, 2.0)])
    picture = grid(images, scale=2)
    assert picture.shape == (3, 14, 14)
    assert picture.dtype == torch.uint8
    assert [int(picture[0, y, x]) for y, x in ((3, 3), (3, 9), (9, 3), (9, 9))] == [0, 128, 255, 255]
    assert int(picture[0, 0, 0]) == 255
    assert torch.equal(torch.tensor(list(png(picture)[:4])), torch.tensor([0x89, 0x50, 0x4E, 0x47]))
