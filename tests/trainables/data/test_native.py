"""Crops of native pixels: bit for bit those of the files, at places that follow from keys alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import DataError, DataOptions, NativeDataset, load_dataset
from trainables.evaluation import FixedInputs, Subset, load_pictures
from trainables.gan import GanTrainer
from trainables.networks import build_task
from trainables.randomness import sample_keys

SIZES = [(40, 56), (32, 32), (90, 33), (64, 200), (35, 50)]  # (height, width)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, np.ndarray]:
    """Of random pixels, so that a place in a picture is known by what is there."""
    (tmp_path / "pictures").mkdir()
    levels = {}
    for number, (height, width) in enumerate(SIZES):
        levels[f"{number}.png"] = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(levels[f"{number}.png"]).save(tmp_path / "pictures" / f"{number}.png")
    return levels


def load(tmp_path: Path, **options: Any) -> NativeDataset:
    settings: dict[str, Any] = {"path": str(tmp_path / "pictures"), "resolution": 32, "crop": "native"} | options
    dataset = load_dataset(DataOptions(**settings), tmp_path / "cache")
    assert isinstance(dataset, NativeDataset)
    return dataset


def place(crop: torch.Tensor, picture: np.ndarray) -> tuple[int, int]:
    """Where ``crop`` lies in ``picture``, whose pixels are all different."""
    wanted = crop.permute(1, 2, 0).numpy()
    for top in range(picture.shape[0] - 31):
        for left in range(picture.shape[1] - 31):
            if (picture[top, left] == wanted[0, 0]).all() and np.array_equal(picture[top : top + 32, left : left + 32], wanted):
                return top, left
    raise AssertionError("it is no crop of the picture")


def test_crops_are_of_the_picture_s_own_pixels_and_reach_all_of_them(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    dataset = load(tmp_path)
    assert dataset.names == tuple(files)
    assert dataset.sizes == tuple(SIZES)
    keys = sample_keys(torch.arange(200), 1)
    for index, picture in enumerate(files.values()):
        crops = dataset.pixels(torch.full((200,), index), keys)
        assert crops.shape == (200, 3, 32, 32)
        places = {place(crop, picture) for crop in crops}
        rows, columns = {top for top, _ in places}, {left for _, left in places}
        height, width = picture.shape[:2]
        for found, last in ((rows, height - 32), (columns, width - 32)):
            assert min(found) <= 0.1 * last
            assert max(found) >= 0.9 * last


def test_a_place_follows_from_the_key_alone_and_mirrored_ones_are_the_same_turned(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    dataset = load(tmp_path, mirror=True)
    assert len(dataset) == 2 * len(files)
    indices, keys = torch.tensor([3, 0, 2]), sample_keys(torch.arange(3), 7)
    crops = dataset.pixels(indices, keys)
    assert torch.equal(dataset.pixels(indices.flip(0), keys.flip(0)), crops.flip(0))
    assert torch.equal(dataset.pixels(indices + len(files), keys), crops.flip(-1))
    assert torch.equal(dataset.batch(indices, keys=keys), crops.float().div(127.5) - 1)
    assert torch.equal(dataset.real_images[1:3], dataset.pixels(torch.arange(1, 3)))
    assert len(dataset.real_images) == len(files)
    with pytest.raises(IndexError, match="indices from 10 to 10 in a data set of 10"):
        dataset.pixels(torch.tensor([10]))


def test_all_pictures_that_are_too_small_are_named_in_one_message(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    with pytest.raises(
        DataError, match=r"2 of 5 pictures cannot be used(.|\n)*1\.png: 32 x 32 pixels, smaller than the crops of 34"
    ):
        load(tmp_path, resolution=34)
    with pytest.raises(DataError, match="2 of 5 pictures cannot be used") as told:
        load(tmp_path, resolution=34)
    for line in ("1.png: 32 x 32 pixels, smaller than the crops of 34 px", "2.png: 33 x 90 pixels, smaller than"):
        assert line in str(told.value)
    assert load(tmp_path, resolution=34, on_bad_image="skip").names == ("0.png", "3.png", "4.png")


def test_the_cache_is_kept_checked_and_not_taken_for_squares(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    first = load(tmp_path)
    assert load(tmp_path).content_hash == first.content_hash
    square = load_dataset(DataOptions(path=str(tmp_path / "pictures"), resolution=32), tmp_path / "cache")
    assert square.content_hash != first.content_hash
    assert load(tmp_path, resolution=30).content_hash != first.content_hash, "other crops are compared with"
    (array,) = (file for file in (tmp_path / "cache").glob("pictures-*.npy") if file.stat().st_size > 5 * 3 * 33 * 33)
    data = bytearray(array.read_bytes())
    data[-5] ^= 1
    array.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged and built again"):
        assert load(tmp_path).content_hash == first.content_hash


def test_training_sees_other_crops_in_every_step_and_evaluation_the_same(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    data = DataOptions(path=str(tmp_path / "pictures"), resolution=32, crop="native")
    config = TrialConfig(
        task="denoising",
        resolution=32,
        kimg=0.01,
        batch_size=4,
        generator={"name": "unet", "depth": 1, "channels": 4},
        discriminator={"name": "patch", "layers": 1, "channels": 4},
        evaluation={"metric": "psnr[n=2]"},
        speed={"micro_batches": 2},
    )
    pictures = load_pictures(config.task, data, str(tmp_path / "cache"))
    assert isinstance(pictures.train, Subset)
    trainer = GanTrainer(config, pictures.train)
    first, again, later = (trainer.batches.at(step).target for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape == (4, 3, 32, 32)
    assert sum(torch.equal(a, b) for a in first for b in later) <= 1, "the one picture that is a crop itself"

    class Worker(Collective):
        """One of two."""

        world_size, rank = 2, 1

        def share(self, count: int) -> slice:
            return slice(count // 2, count)

    of_second = GanTrainer(config, pictures.train, collective=Worker()).batches.at(0).target
    assert torch.equal(of_second, first[[1, 3]]), "the second half of each micro-batch"

    task = build_task(config.task, 32)
    inputs = FixedInputs(task, pictures, 0, torch.device("cpu"))
    assert len(pictures.held_out) == 1
    conditions, targets = inputs(torch.arange(3))
    assert not torch.equal(targets[0], targets[1]), "beyond their number, other crops of the same pictures"
    again_conditions, again_targets = inputs(torch.tensor([1]))
    assert torch.equal(again_targets, targets[1:2])
    assert torch.equal(again_conditions, conditions[1:2])
