"""Same seed, same curve; stopped and resumed, same curve; more workers, same parameters. With real weights and real pictures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.small import differences, small_config
from trainables.checkpoint import TrialFiles
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.storage import Storage


def curve(trainer: GanTrainer, steps: int) -> list[dict[str, Tensor]]:
    return [trainer.step() for _ in range(steps)]


def state(trainer: GanTrainer) -> dict[str, Any]:
    return copy.deepcopy(trainer.state_dict())


def test_same_seed_same_curve(dataset: ImageDataset) -> None:
    first, again, other = (GanTrainer(small_config(seed=seed), dataset) for seed in (1, 1, 2))
    losses = curve(first, 4)
    torch.manual_seed(99)  # what the process has drawn before is none of the trial's business
    torch.rand(7)
    assert differences(losses, curve(again, 4)) == []
    assert differences(first.state_dict(), again.state_dict()) == []
    assert len(differences(losses, curve(other, 4))) > 4


def test_building_and_stepping_leaves_the_global_random_state_alone(dataset: ImageDataset) -> None:
    before = torch.get_rng_state()
    GanTrainer(small_config(), dataset).step()
    assert torch.equal(torch.get_rng_state(), before)


RESUMED = {
    "frozen trunk": {"discriminator": {"name": "trunk", "frozen_depth": 5, "scales": 2, "head_channels": 16}},
    "partly unfrozen trunk": {"discriminator": {"name": "trunk", "frozen_depth": 3, "scales": 2, "head_channels": 16}},
    "projected": {"discriminator": {"name": "projected", "scales": 2, "head_channels": 16, "mixed_channels": 8}},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_stopped_and_resumed_equals_uninterrupted(dataset: ImageDataset, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = small_config(**changes)
    uninterrupted = GanTrainer(config, dataset)
    curve(uninterrupted, 3)
    files = TrialFiles(Storage(tmp_path))
    files.save(uninterrupted.state_dict(), {"step": 3}, png(grid(uninterrupted.sample(torch.zeros(1, 16)))), is_best=False)
    at_the_stop = state(uninterrupted)
    losses = curve(uninterrupted, 3)

    saved = files.newest_step()
    assert saved == 3
    resumed = GanTrainer(config, dataset)
    resumed.load_state_dict(files.load(saved)["trainer"])
    assert differences(resumed.state_dict(), at_the_stop) == []
    assert differences(curve(resumed, 3), losses) == []
    assert differences(resumed.state_dict(), uninterrupted.state_dict()) == []
    # What is not in the state must not differ either: frozen trunk, statistics, extractor.
    for a, b in (
        (resumed.discriminator, uninterrupted.discriminator),
        (resumed.picture_losses.extractor, uninterrupted.picture_losses.extractor),
    ):
        assert differences(a.state_dict(), b.state_dict()) == []  # type: ignore[union-attr]
    # The comparison can fail: every part of the state has moved since the stop.
    moved = {place.split("/")[1] for place in differences(at_the_stop, state(uninterrupted))}
    assert moved == {"step", "generator", "ema", "discriminator", "generator_optimizer", "discriminator_optimizer"}


def test_a_frozen_trunk_is_not_in_the_checkpoint_and_an_unfrozen_stage_is(dataset: ImageDataset) -> None:
    def trunk_tensors(frozen_depth: int) -> set[str]:
        discriminator = {"name": "trunk", "frozen_depth": frozen_depth, "scales": 2, "head_channels": 16}
        saved = GanTrainer(small_config(discriminator=discriminator), dataset).state_dict()["discriminator"]
        return {name.split(".")[2] for name in saved if name.startswith("backbone.")}

    assert trunk_tensors(5) == set()
    assert trunk_tensors(3) == {"3", "4"}


@pytest.mark.parametrize(
    "other",
    [
        {"discriminator": {"name": "trunk", "frozen_depth": 4, "scales": 2, "head_channels": 16}},
        {"discriminator": {"name": "projected", "scales": 2, "head_channels": 16}},
    ],
)
def test_a_checkpoint_of_another_discriminator_is_refused(dataset: ImageDataset, other: dict[str, Any]) -> None:
    saved = GanTrainer(small_config(), dataset).state_dict()
    with pytest.raises(ValueError, match=r"the checkpoint is of another discriminator: \d+ tensors differ, e\.g\. "):
        GanTrainer(small_config(**other), dataset).load_state_dict(saved)


def test_the_step_does_not_matter_to_the_config(dataset: ImageDataset) -> None:
    """The length of a run changes when it ends, not how it starts: a rung means the same in a longer run."""
    short, long = (GanTrainer(small_config(kimg=kimg), dataset) for kimg in (0.128, 1.0))
    assert isinstance(short.config, TrialConfig)
    assert differences(curve(short, 2), curve(long, 2)) == []
