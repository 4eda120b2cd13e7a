"""`check_data` tells what is there before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.pictures import faces, quadrants
from trainables.data import DataError, DataOptions, check_data
from trainables.data.duplicates import near_duplicates


def test_report(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    quadrants(300, 200).save(folder / "wide.jpg")
    quadrants(8, 8).convert("L").save(folder / "tiny.png")
    report = check_data(DataOptions(path=str(folder), resolution=32))
    assert report.count == 14
    assert (report.smallest, report.largest) == ((8, 8), (300, 200))
    assert report.enlarged == 1
    assert report.formats == {"PNG": 13, "JPEG": 1}
    assert sum(report.modes.values()) == 14
    assert report.modes["L"] == 1
    assert report.near_duplicates == ()
    assert report.problem is None
    assert "14 pictures, from 8 × 8 to 300 × 200 pixels" in str(report)


def test_broken_pictures_are_reported_and_refused_by_option(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces", 3)
    (folder / "broken.png").write_bytes((folder / "1f600.png").read_bytes()[:300])
    report = check_data(DataOptions(path=str(folder), resolution=32))
    assert [name for name, _ in report.bad_files] == ["broken.png"]
    assert report.problem is not None
    assert "1 of 4 pictures cannot be used" in report.problem
    assert "broken.png: " in str(report)
    assert check_data(DataOptions(path=str(folder), resolution=32, on_bad_image="skip")).problem is None


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is empty"):
        check_data(DataOptions(path=str(tmp_path), resolution=32))
    (tmp_path / "empty.png").touch()
    report = check_data(DataOptions(path=str(tmp_path), resolution=32, on_bad_image="skip"))
    assert report.count == 0
    assert "none of the 1 pictures can be used" in str(report.problem)


def test_near_duplicates_are_found(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    on_white = Image.new("RGBA", (72, 72), "white")
    on_white.alpha_composite(Image.open(folder / "1f600.png").convert("RGBA"))
    on_white.convert("RGB").save(folder / "recompressed.jpg", quality=80)
    on_white.resize((100, 100)).convert("RGB").save(folder / "resized.png")
    report = check_data(DataOptions(path=str(folder), resolution=64))
    assert report.near_duplicates == (("1f600.png", "recompressed.jpg", "resized.png"),)
    assert "1f600.png, recompressed.jpg, resized.png" in str(report)


def test_near_duplicates_agree_with_all_pairs() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (60, 12)).astype(np.float32)
    x[40:] = x[:20] + rng.normal(0, 4, (20, 12)).astype(np.float32)
    close = np.sqrt(((x[:, None] - x[None]) ** 2).mean(-1)) <= 4.0
    expected = {(i, j) for i, j in zip(*np.nonzero(close), strict=True) if i < j}
    found = near_duplicates(x)
    assert {tuple(group) for group in found} == expected
    assert 3 < len(expected) < 20
