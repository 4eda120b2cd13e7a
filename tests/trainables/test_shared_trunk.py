"""D's frozen trunk and the feature loss's extractor: one network where they are the same, one forward where they see the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.small import small_config
from trainables.backbones import Backbone
from trainables.data import ImageDataset
from trainables.gan import GanTrainer

PROJECTED = {"name": "projected", "scales": 2, "head_channels": 8, "mixed_channels": 8, "input_px": 32}
FEATURES = {"layers": ("blocks.1",), "input_px": 32}


def trainer_of(dataset: ImageDataset, **changes: Any) -> GanTrainer:
    given: dict[str, Any] = {"augment": [], "discriminator": PROJECTED, "feature_loss": FEATURES}
    return GanTrainer(small_config(**given | changes), dataset)


def batches_through_the_trunk(trainer: GanTrainer) -> int:
    """How often the first stage of D's trunk runs in a step of G."""
    runs = []
    trunk = trainer.discriminator.get_submodule("backbone")
    assert isinstance(trunk, Backbone)
    hook = trunk.stages[0].register_forward_hook(lambda *args: runs.append(1))
    trainer.g_step(trainer.batches.at(0))
    hook.remove()
    return len(runs)


def g_losses_and_gradients(trainer: GanTrainer) -> dict[str, Tensor]:
    trainer._train_discriminator(False)
    loss, losses = next(trainer._g_losses(trainer.batches.at(0)))
    loss.backward()
    return losses | {name: p.grad for name, p in trainer.generator.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "discriminator", [PROJECTED, {"name": "trunk", "frozen_depth": 3, "scales": 2, "head_channels": 8, "input_px": 32}]
)
def test_one_forward_gives_the_losses_and_gradients_of_two(dataset: ImageDataset, discriminator: dict[str, Any]) -> None:
    shared, apart = (trainer_of(dataset, discriminator=discriminator) for _ in range(2))
    assert shared.picture_losses.extractor is shared.discriminator.get_submodule("backbone")
    apart._shared_trunk = None
    # G's pictures once for D and the loss, and the real ones.
    assert batches_through_the_trunk(shared) == 2
    assert batches_through_the_trunk(apart) == 3
    shared, apart = (trainer_of(dataset, discriminator=discriminator) for _ in range(2))
    apart._shared_trunk = None
    one, two = g_losses_and_gradients(shared), g_losses_and_gradients(apart)
    assert one.keys() == two.keys()
    for name, value in two.items():
        torch.testing.assert_close(one[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_what_sees_other_pictures_has_a_forward_of_its_own(dataset: ImageDataset) -> None:
    for changes in ({"augment": ["color"]}, {"feature_loss": FEATURES | {"input_px": None}}):
        trainer = trainer_of(dataset, **changes)
        assert trainer.picture_losses.extractor is trainer.discriminator.get_submodule("backbone")
        assert batches_through_the_trunk(trainer) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"discriminator": {"name": "trunk", "frozen_depth": 1, "scales": 2, "head_channels": 8, "input_px": 32}},
        {"discriminator": {"name": "patch", "channels": 8, "layers": 1}},
    ],
    ids=["a layer that D trains", "no trunk"],
)
def test_a_trunk_that_is_another_is_left_to_d(dataset: ImageDataset, changes: dict[str, Any]) -> None:
    trainer = trainer_of(dataset, **changes)
    assert trainer.picture_losses.extractor is not None
    assert all(trainer.picture_losses.extractor is not module for module in trainer.discriminator.modules())
    assert trainer._shared_trunk is None


def test_nothing_is_kept_after_the_step(dataset: ImageDataset) -> None:
    trainer = trainer_of(dataset)
    trainer.step()
    trunk = trainer.discriminator.get_submodule("backbone")
    assert isinstance(trunk, Backbone)
    assert trunk._shared is None
