"""What CUDA's autocast makes of the networks' activations, without CUDA: fake tensors have its rules, shapes and dtypes alone."""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.contracts.trials import TRIALS
from trainables.backbones import BACKBONES, load_backbone
from trainables.config import TrialConfig
from trainables.layers import fir
from trainables.networks import build_discriminator, build_generator, build_task

N = 4
# The spread of a group of samples.
MEANT = ("discriminators/stylegan2.py",)


class Promotions(TorchDispatchMode):
    """Counts, by place, the operations that make a float32 map of one in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x.dtype for x in tree_leaves((args, kwargs)) if _is_map(x)]
        if torch.bfloat16 in given and any(_is_map(x) and x.dtype == torch.float32 for x in tree_leaves(result)):
            self.places[_place()] += 1
        return result


def _is_map(x: Any) -> bool:
    """Features at positions: not what has one number for a channel or a position, which costs little, and no picture."""
    return isinstance(x, Tensor) and x.ndim == 4 and x.shape[-1] > 1 and x.shape[1] > 4


def _place() -> str:
    frames = [f for f in traceback.extract_stack() if "/trainables/" in f.filename and "/tests/" not in f.filename]
    return "/".join(Path(frames[-1].filename).parts[-2:]) + f":{frames[-1].lineno}"


@contextlib.contextmanager
def cuda_autocast() -> Iterator[Promotions]:
    """Inside, fake tensors on a CUDA device are computed with as there under autocast."""
    promotions = Promotions()
    with patch.dict(fir._KERNELS, clear=True), FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        torch.set_autocast_enabled("cuda", True)
        try:
            with promotions:
                yield promotions
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()


def promotions_of(build: Callable[[], nn.Module], run: Callable[[Any], Any]) -> Counter[str]:
    """By place, of a network in training; ``run`` is given it on the device."""
    network = build()
    with cuda_autocast() as promotions:
        run(fake(network))
    return promotions.places


def fake(network: nn.Module) -> nn.Module:
    """Its parameters and buffers as fake tensors on the device."""

    def made(x: Tensor) -> Tensor:
        return torch.empty(x.shape, dtype=x.dtype, device="cuda")

    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(made(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = made(buffer)
    return network


def test_the_rehearsal_sees_what_autocast_promotes() -> None:
    def run(network: nn.Module) -> None:
        x = network(torch.empty(2, 8, 8, 8, device="cuda"))
        assert x.dtype == torch.bfloat16
        assert (x * torch.rsqrt(x.square().mean(dim=1, keepdim=True))).dtype == torch.float32
        assert F.interpolate(x, scale_factor=2.0).dtype == torch.float32

    with patch(f"{__name__}._place", lambda: "here"):
        assert promotions_of(lambda: nn.Conv2d(8, 8, 3), run)["here"] == 2 + 1, "square, the product and nearest upsampling"


NETWORKS = {
    f"{config.generator.name} {config.discriminator.name} {config.task.name}": config for config in reversed(TRIALS.values())
}


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_maps_stay_in_half_precision(config: TrialConfig) -> None:
    """G, D and the feature loss's extractor; pictures are float32 at their ends."""
    task = build_task(config.task, config.resolution)
    side = config.resolution
    frozen = load_backbone(BACKBONES[config.backbone], "random")

    def inputs(channels: int = 3) -> Tensor:
        return torch.empty(N, channels, side, side, device="cuda")

    def generate(network: nn.Module) -> Tensor:
        z_dim = int(network.z_dim)  # type: ignore[arg-type]
        given = torch.empty(N, z_dim, device="cuda") if z_dim else inputs(task.in_channels)
        return network(given) if task.in_channels else network(given, noise="random")

    found = promotions_of(lambda: build_generator(config.generator, task, config.backbone), generate)
    found += promotions_of(
        lambda: build_discriminator(config.discriminator, task, config.backbone, "random"),
        lambda network: network(inputs(), inputs(task.in_channels) if task.in_channels else None),
    )
    found += promotions_of(lambda: frozen, lambda network: network(inputs(), None, 64))
    found = Counter({place: count for place, count in found.items() if not place.startswith(MEANT)})
    assert not found
