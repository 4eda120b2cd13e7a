from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.trainables.harm import HARMS, flips
from tests.trainables.metrics.helpers import as_generator, noise_images, tiny_evaluator
from trainables.metrics.cache import StatisticsCache
from trainables.metrics.evaluator import Evaluator

REAL = noise_images(40, seed=1)
FAKE = noise_images(30, seed=2)
NAMES = ["fid[tiny16,16px,n=30]"]


def count_builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    built: list[str] = []
    original = Evaluator._collect

    def collect(self: Evaluator, what, images, total, extractors):  # type: ignore[no-untyped-def]
        built.append(",".join(f"{e.name}:{total}" for e in extractors))
        return original(self, what, images, total, extractors)

    monkeypatch.setattr(Evaluator, "_collect", collect)
    return built


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def test_the_second_evaluator_reads_what_the_first_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = count_builds(monkeypatch)
    first = tiny_evaluator(NAMES, REAL, tmp_path)(as_generator(FAKE))
    assert built == ["tiny16:40", "tiny16:30"]
    assert tiny_evaluator(NAMES, REAL, tmp_path)(as_generator(FAKE)) == first
    assert built == ["tiny16:40", "tiny16:30", "tiny16:30"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("harm", ["truncated", "flipped", "foreign", *HARMS])
def test_a_bad_file_is_reported_and_rebuilt(tmp_path: Path, harm: str) -> None:
    expected = tiny_evaluator(NAMES, REAL, tmp_path)(as_generator(FAKE))
    file = only_file(tmp_path)
    content = file.read_bytes()
    if harm == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif harm == "foreign":
        other = tmp_path / "other"
        tiny_evaluator(NAMES, FAKE[:20], other)
        file.write_bytes(only_file(other).read_bytes())
    else:
        file.write_bytes(HARMS[harm](content))
    with pytest.warns(UserWarning, match="cannot be used and are built again"):
        assert tiny_evaluator(NAMES, REAL, tmp_path)(as_generator(FAKE)) == expected
    assert file.read_bytes() == content


@pytest.mark.parametrize("change", ["data", "weights", "filter", "count"])
def test_anything_that_changes_the_statistics_changes_the_key(tmp_path: Path, change: str) -> None:
    tiny_evaluator(NAMES, REAL, tmp_path)
    names = ["fid[tiny16,16px-tf1,n=30]"] if change == "filter" else ["fid[tiny17,16px,n=30]"] if change == "weights" else NAMES
    real = REAL[:39] if change == "count" else REAL
    description = {"data": "other"} if change == "data" else {}
    if description:
        cache = StatisticsCache(tmp_path)
        assert cache.path({"data": "a"}) != cache.path({"data": "b"})
    else:
        tiny_evaluator(names, real, tmp_path)
        assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_two_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = count_builds(monkeypatch)
    threads = [threading.Thread(target=tiny_evaluator, args=(NAMES, REAL, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == ["tiny16:40"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("trainables.metrics.cache.save_file", broken)
    with pytest.raises(OSError, match="no space left"):
        tiny_evaluator(NAMES, REAL, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_no_flipped_bit_gives_other_statistics(tmp_path: Path) -> None:
    tiny_evaluator(NAMES, REAL, tmp_path)
    file, cache = only_file(tmp_path), StatisticsCache(tmp_path)
    with safe_open(file, framework="pt") as opened:
        description = json.loads(opened.metadata()["origin"])["description"]
    expected = cache.read(description)
    assert expected is not None
    noticed = 0
    for place, damaged in flips(file.read_bytes(), 200):
        file.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = cache.read(description)
        assert (found is None) == bool(caught)
        noticed += found is None
        if found is not None:
            assert found.count == expected.count, place
            assert torch.equal(found.mean, expected.mean), place
            assert torch.equal(found.rows, expected.rows), place
    assert noticed > 190
