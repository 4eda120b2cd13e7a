"""A step on a GPU, wherever there is one: what a CPU computes, the same again, without a wait, in one copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tests.contracts.trials import TRIALS, pictures
from tests.trainables.small import differences
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.gan import GanTrainer
from trainables.speed import SpeedOptions, apply_kernels

pytestmark = pytest.mark.gpu
IN_FLOAT32 = {name: config for name, config in TRIALS.items() if config.speed.precision == "float32"}
STEPS = 3

Pair = tuple[ImageDataset, ImageDataset]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pictures(tmp_path_factory.mktemp("packed"))


@pytest.fixture(autouse=True)
def kernels_as_before() -> Iterator[None]:
    yield
    apply_kernels(SpeedOptions(kernels="fast"))


def trainer_on(device: str, config: TrialConfig, images: Pair, **speed: Any) -> GanTrainer:
    config = config.model_copy(update={"speed": config.speed.model_copy(update=speed)})
    apply_kernels(config.speed)
    style = images[1] if config.task.name == "style_transfer" else None
    return GanTrainer(config, images[0], style=style, device=device)


def losses_of(trainer: GanTrainer, steps: int = STEPS) -> list[dict[str, Tensor]]:
    return [{name: value.cpu() for name, value in trainer.step().items()} for _ in range(steps)]


@pytest.mark.parametrize("config", IN_FLOAT32.values(), ids=IN_FLOAT32)
def test_it_is_the_step_of_a_cpu(images: Pair, config: TrialConfig) -> None:
    """Not bit for bit: sums have another order, and Adam turns a gradient of rounding into a step."""
    found, wanted = (losses_of(trainer_on(device, config, images, kernels="exact"), 2) for device in ("cuda", "cpu"))
    for step, (got, expected) in enumerate(zip(found, wanted, strict=True)):
        assert got.keys() == expected.keys()
        for name in expected.keys() - {"d_accuracy"}:
            torch.testing.assert_close(
                got[name], expected[name], rtol=(1e-3, 5e-2)[step], atol=1e-3, msg=f"{name} of step {step}"
            )


@pytest.mark.parametrize("config", TRIALS.values(), ids=TRIALS)
def test_exact_kernels_give_the_same_bit_for_bit(images: Pair, config: TrialConfig) -> None:
    first, again = (trainer_on("cuda", config, images, kernels="exact") for _ in range(2))
    assert differences(losses_of(first), losses_of(again)) == []
    assert differences(first.state_dict(), again.state_dict()) == []


@pytest.mark.parametrize("config", TRIALS.values(), ids=TRIALS)
def test_no_step_waits_for_the_device(images: Pair, config: TrialConfig) -> None:
    trainer = trainer_on("cuda", config, images)
    losses_of(trainer, 2)  # what is kept on the device is there, and cuDNN has chosen
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            trainer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_step_has_one_copy_from_the_host(images: Pair, share: float) -> None:
    trainer = trainer_on("cuda", next(iter(TRIALS.values())), images, pictures_on_device=share)
    losses_of(trainer, 2)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        trainer.step()
        torch.cuda.synchronize()
    copies = [event.name for event in recorded.events() if "HtoD" in event.name]
    assert len(copies) == 1, copies
    assert "Pinned" in copies[0]


def test_pictures_on_the_device_are_those_that_travel(images: Pair) -> None:
    config = next(iter(TRIALS.values()))
    there, travelling = (trainer_on("cuda", config, images, kernels="exact", pictures_on_device=share) for share in (0.25, 0.0))
    assert there.batches._held
    assert not travelling.batches._held
    for step in range(STEPS):
        assert torch.equal(there.batches.at(step).real, travelling.batches.at(step).real)
    assert differences(losses_of(there), losses_of(travelling)) == []


def test_half_precision_is_near_float32(images: Pair) -> None:
    half, full = (losses_of(trainer_on("cuda", TRIALS["bfloat16"], images, precision=p)) for p in ("bfloat16", "float32"))
    for got, expected in zip(half, full, strict=True):
        for name in expected.keys() - {"d_accuracy"}:
            torch.testing.assert_close(got[name], expected[name], rtol=0.1, atol=0.02, msg=name)
