"""No step waits for a GPU, and what it needs of the host comes in one copy: rehearsed on meta for all that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from tests.trainables.rehearsal import Copies, operations_of, rehearsed, shipped
from tests.trainables.small import small_config
from trainables.augment import POLICIES
from trainables.config import TrialConfig
from trainables.networks import build_task
from trainables.tasks import TASKS

SHIPPED = shipped()


@pytest.mark.parametrize("config", SHIPPED.values(), ids=SHIPPED)
def test_a_step_needs_one_copy_and_waits_for_nothing(config: TrialConfig) -> None:
    copies = rehearsed(config)
    assert copies.count == 1, copies.places


@pytest.mark.parametrize("held", [0, 2**40])
def test_pictures_come_by_the_same_copy_or_are_there(held: int) -> None:
    with patch("trainables.batches.free_memory", lambda device: held):
        assert rehearsed(small_config(weights="random")).count == 1


DEGRADATIONS: dict[str, dict[str, Any]] = {
    **{f"denoising {kind}": {"name": "denoising", "kind": kind} for kind in ("gaussian", "poisson", "jpeg", "photographs")},
    "denoising photographs shuffled": {"name": "denoising", "kind": "photographs", "shuffled": True},
    "super-resolution 4x": {"name": "super_resolution", "scale": 4},
    "super-resolution of photographs": {"name": "super_resolution", "degradation": "photographs", "shuffled": True},
    "inpainting boxes": {"name": "inpainting", "mask": "boxes"},
    "inpainting free form": {"name": "inpainting", "mask": "free_form"},
    "colorization": {"name": "colorization"},
}


@pytest.mark.parametrize("options", DEGRADATIONS.values(), ids=DEGRADATIONS)
def test_pictures_are_degraded_without_the_host(options: dict[str, Any]) -> None:
    task = build_task(TASKS[options["name"]].Options(**options), 32)
    images, keys, copies = torch.zeros(4, 3, 32, 32, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta"), Copies()
    task.degrade(images, keys)  # what is kept on the device gets there
    with copies.counted():
        task.degrade(images, keys)
    assert copies.count == 0, copies.places


# What `torch.use_deterministic_algorithms` says of CUDA, but for what torch then computes otherwise: convolutions, indexing,
# padding by replication, linear interpolation.
IN_ANY_ORDER = {
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "_upsample_bicubic2d_aa_backward",
    "_upsample_bilinear2d_aa_backward",
    "adaptive_max_pool2d_backward",
    "avg_pool3d_backward",
    "bincount",
    "grid_sampler_2d_backward",
    "histc",
    "median",
    "nll_loss2d_forward",
    "nll_loss_forward",
    "put_",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
    "upsample_linear1d_backward",
}
CONDITIONAL = {"name": "trunk", "conditional": True, "frozen_depth": 3, "scales": 2, "head_channels": 8, "input_px": 64}
IN_ORDER: dict[str, TrialConfig] = {
    "every augmentation": small_config(weights="random", augment=tuple(POLICIES), augment_p=0.7),
    "a conditional trunk": small_config(
        weights="random", task="denoising", generator={"name": "encoder_decoder"}, discriminator=CONDITIONAL, feature_loss={}
    ),
    "projected": small_config(
        weights="random",
        discriminator={"name": "projected", "scales": 3, "input_px": 64},
        feature_loss={"layers": ("layer1",), "form": "nearest"},
        backbone="resnet18",
    ),
}


def exact_operations(config: TrialConfig, exact: bool) -> set[str]:
    torch.use_deterministic_algorithms(exact)
    try:
        return operations_of(config)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("config", IN_ORDER.values(), ids=IN_ORDER)
def test_exact_kernels_add_up_in_one_order(config: TrialConfig) -> None:
    used = exact_operations(config, exact=True)
    assert "convolution_backward" in used
    assert not used & IN_ANY_ORDER


def test_fast_kernels_take_what_is_fast() -> None:
    """Else the test before this one would show nothing."""
    assert "grid_sampler_2d_backward" in exact_operations(IN_ORDER["every augmentation"], exact=False)
    assert "_adaptive_avg_pool2d_backward" in exact_operations(IN_ORDER["a conditional trunk"], exact=False)


WAITS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool((x > 0).any()),
    "mask": lambda x: x[x > 0],
    "cpu": lambda x: x.cpu(),
    "tolist": lambda x: x.tolist(),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_the_rehearsal_sees_what_waits(wait: Callable[[Tensor], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.zeros(3, device="meta"))


COPIES: dict[str, Callable[[Tensor], Any]] = {
    "to": lambda x: torch.zeros(3).to(x.device),
    "copy_": lambda x: x.copy_(torch.zeros(3)),
    "index": lambda x: x[torch.tensor([0, 2])],
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0]),
}
FREE: dict[str, Callable[[Tensor], Any]] = {
    "on the device": lambda x: torch.where(x > 0, torch.arange(3, device=x.device), 0.5) * x.new_full((), 2),
    "a number": lambda x: x * torch.tensor(2.0),
    "on the host": lambda x: torch.rand(3)[torch.tensor([0, 1])],
}


def counted(work: Callable[[Tensor], Any]) -> int:
    copies = Copies()
    with patch("tests.trainables.rehearsal._place", lambda: "here"), copies.counted():
        work(torch.zeros(3, device="meta"))
    return copies.count


@pytest.mark.parametrize("work", COPIES.values(), ids=COPIES)
def test_the_rehearsal_counts_copies(work: Callable[[Tensor], Any]) -> None:
    assert counted(work) == 1


@pytest.mark.parametrize("work", FREE.values(), ids=FREE)
def test_the_rehearsal_counts_nothing_else(work: Callable[[Tensor], Any]) -> None:
    assert counted(work) == 0
