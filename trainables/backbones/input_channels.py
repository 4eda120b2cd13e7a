"""More input channels than a pretrained trunk has: new weights that start at zero beside the pretrained convolution.

They are a convolution of their own, so that they can be trained while the pretrained one is frozen.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_PROBE_PX = 160


class WiderConvolution(nn.Module):
    """[N, channels, H, W] → what ``pretrained`` makes of the first three channels, plus a zero-initialised part of the others."""

    def __init__(self, pretrained: nn.Conv2d, channels: int) -> None:
        super().__init__()
        self.pretrained = pretrained
        # A copy, not a new Conv2d: libraries pad in their own ways.
        self.extra = copy.deepcopy(pretrained)
        self.extra.in_channels = channels - 3
        weight = pretrained.weight
        self.extra.weight = nn.Parameter(weight.new_zeros(weight.shape[0], channels - 3, *weight.shape[2:]))
        self.extra.bias = None

    def forward(self, images: Tensor) -> Tensor:
        return self.pretrained(images[:, :3]) + self.extra(images[:, 3:])


def widen(stage: nn.Module, channels: int, name: str) -> None:
    """Replaces, in place, every convolution of ``stage`` that reads the image by one that reads ``channels`` channels.

    Raises:
        ValueError: the image is also read by something that is no ordinary convolution.
    """
    for path in _readers(stage):
        reader = stage.get_submodule(path)
        if not isinstance(reader, nn.Conv2d) or reader.groups != 1:
            raise ValueError(
                f"{name} takes 1 or 3 input channels only, but got {channels}: a {type(reader).__name__} reads its image"
            )
        parent, _, child = path.rpartition(".")
        setattr(stage.get_submodule(parent), child, WiderConvolution(reader, channels))


@torch.no_grad()
def _readers(stage: nn.Module) -> list[str]:
    """The paths of the leaf modules of ``stage`` that are given the image, whether or not it was padded to whole patches."""
    device = next(stage.parameters()).device
    image = torch.linspace(-1, 1, 3 * _PROBE_PX**2, device=device).view(1, 3, _PROBE_PX, _PROBE_PX)
    found: list[str] = []
    handles = []
    for path, module in stage.named_modules():
        if not any(True for _ in module.children()):

            def note(_: nn.Module, args: tuple[Any, ...], path: str = path) -> None:
                if any(isinstance(x, Tensor) and torch.equal(x[..., :_PROBE_PX, :_PROBE_PX], image) for x in args):
                    found.append(path)

            handles.append(module.register_forward_pre_hook(note))
    try:
        stage(image)
    finally:
        for handle in handles:
            handle.remove()
    return found
