"""A damaged picture cache: noticed down to a bit, and built again."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.harm import HARMS, flips
from trainables.data import DataOptions, ImageDataset, load_dataset

KINDS = {"array": "pictures-*.npy", "index": "index-*.json"}


def folder_of(tmp_path: Path, name: str, seed: int) -> DataOptions:
    folder = tmp_path / name
    folder.mkdir()
    random = np.random.default_rng(seed)
    for index in range(5):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{index}.png")
    return DataOptions(path=str(folder), resolution=16)


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return folder_of(tmp_path, "pictures", 1)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def content(dataset: ImageDataset) -> tuple[object, ...]:
    return dataset.images.numpy().tobytes(), dataset.names, dataset.content_hash, dataset.skipped


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_built_again_with_a_warning(options: DataOptions, cache: Path, kind: str, harm: str) -> None:
    expected = content(load_dataset(options, cache))
    (file,) = cache.glob(KINDS[kind])
    file.write_bytes(HARMS[harm](file.read_bytes()))
    with pytest.warns(RuntimeWarning, match="damaged and built again"):
        assert content(load_dataset(options, cache)) == expected
    assert content(load_dataset(options, cache)) == expected, "and no warning the next time"


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_gives_other_pictures(options: DataOptions, cache: Path, kind: str) -> None:
    expected = content(load_dataset(options, cache))
    (file,) = cache.glob(KINDS[kind])
    noticed = 0
    for place, damaged in flips(file.read_bytes(), 100):
        file.unlink()
        file.write_bytes(damaged)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert content(load_dataset(options, cache)) == expected, place
        noticed += len(caught)
    assert noticed > 80


def test_the_index_of_other_pictures_is_noticed(options: DataOptions, tmp_path: Path, cache: Path) -> None:
    expected = content(load_dataset(options, cache))
    (mine,) = cache.glob("index-*.json")
    load_dataset(folder_of(tmp_path, "others", 2), cache)
    (other,) = set(cache.glob("index-*.json")) - {mine}
    mine.write_bytes(other.read_bytes())
    with pytest.warns(RuntimeWarning, match="of other pictures"):
        assert content(load_dataset(options, cache)) == expected


def test_the_array_of_other_pictures_is_noticed(options: DataOptions, tmp_path: Path, cache: Path) -> None:
    expected = content(load_dataset(options, cache))
    (mine,) = cache.glob("pictures-*.npy")
    load_dataset(folder_of(tmp_path, "others", 2), cache)
    (other,) = set(cache.glob("pictures-*.npy")) - {mine}
    mine.write_bytes(other.read_bytes())
    with pytest.warns(RuntimeWarning, match="are not those that were packed"):
        again = load_dataset(options, cache)
    assert content(again) == expected
    assert again.images.dtype == torch.uint8
