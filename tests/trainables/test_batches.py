"""A batch is the same by whatever way it comes: drawn where it is used, ahead in a parcel, from pictures that are there."""

from __future__ import annotations

import functools
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from tests.trainables.small import small_config
from trainables.batches import Batch, Batches, _parcel
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.networks import build_task
from trainables.parcel import Ahead

STEPS = 9  # of 8 pictures of 32, with the ragged end of no epoch and the beginning of a third
CONFIGS = {
    "from noise": small_config(),
    "with a regulariser's numbers": small_config(adversarial="relativistic", regularisers=[{"name": "gradient_penalty"}]),
    "from pictures": small_config(task="denoising", generator={"name": "unet"}, discriminator={"name": "patch"}, feature_loss={}),
}


def batches_of(config: TrialConfig, images: ImageDataset, held: int = 0, parcels: bool = False) -> Batches:
    """On the CPU, which is then taken for a device with so many free bytes."""
    task = build_task(config.task, config.resolution)
    with patch("trainables.batches.free_memory", lambda device: held):
        made = Batches(config, task, images, None, 0 if task.in_channels else 16, Collective(), torch.device("cpu"))
    if parcels:
        made._parcels = Ahead(functools.partial(_parcel, made._draws, torch.device("cpu")), STEPS)
    return made


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    return {key: value for key, value in vars(batch).items() if isinstance(value, Tensor)} | dict(batch.augmentation)


@pytest.mark.parametrize("held", [0, 2**40], ids=["travelling", "held"])
@pytest.mark.parametrize("parcels", [False, True], ids=["drawn", "ahead"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_batch_is_the_same_by_whatever_way_it_comes(
    dataset: ImageDataset, config: TrialConfig, held: int, parcels: bool
) -> None:
    plain, other = batches_of(config, dataset), batches_of(config, dataset, held, parcels)
    assert bool(other._held) == bool(held)
    for step in (0, 1, 5, 4, 8):
        wanted, found = tensors_of(plain.at(step)), tensors_of(other.at(step))
        assert found.keys() == wanted.keys()
        for name, x in wanted.items():
            assert torch.equal(found[name], x), (step, name)


def test_pictures_are_held_where_they_take_no_more_than_their_share(dataset: ImageDataset) -> None:
    size = len(dataset) * 3 * 32 * 32
    assert batches_of(small_config(), dataset, held=4 * size)._held
    assert not batches_of(small_config(), dataset, held=4 * size - 1)._held
    assert not batches_of(small_config(speed={"pictures_on_device": 0}), dataset, held=2**40)._held
    assert batches_of(small_config(speed={"pictures_on_device": 1}), dataset, held=size)._held


def test_mirrored_pictures_are_held_mirrored(dataset: ImageDataset) -> None:
    mirrored = ImageDataset(dataset.images, dataset.names, dataset.content_hash, mirror=True)
    (held,) = batches_of(small_config(), mirrored, held=2**40)._held.values()
    assert torch.equal(held, torch.cat([dataset.images, dataset.images.flip(-1)]))


def test_a_part_has_its_rows_of_everything(dataset: ImageDataset) -> None:
    batch = batches_of(small_config(), dataset).at(0)
    parts = [tensors_of(part) for part in batch.parts(4)]
    for name, x in tensors_of(batch).items():
        assert torch.equal(torch.cat([part[name] for part in parts]), x), name
        assert all(len(part[name]) == 2 for part in parts)


def test_no_two_purposes_share_their_numbers(dataset: ImageDataset) -> None:
    batch = batches_of(CONFIGS["with a regulariser's numbers"], dataset).at(0)
    assert set(batch.augmentation) == {"d_real", "d_fake", "g", "g_real"}
    drawn = [*batch.augmentation.values(), batch.inputs_d, batch.inputs_g, batch.mix]
    assert len({x.flatten()[:4].numpy().tobytes() for x in drawn}) == len(drawn)
