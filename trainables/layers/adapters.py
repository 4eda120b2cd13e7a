"""Small trained parts beside the kernels of a pretrained network that stay as they are. Each starts as the identity.

All of them can be merged into the tensors that they sit beside (`merged`), so that what was trained so is a plain network again.
Of a module ``conv`` with a style layer ``affine``, the tensors are ``conv.adapter.*``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """Changes a modulated layer's styles [N, in] or its kernel [out, in, k, k]."""

    def style(self, style: Tensor) -> Tensor:
        return style

    def kernel(self, weight: Tensor) -> Tensor:
        return weight


class ChannelScale(Adapter):
    """A factor for each channel of the features that the layer reads (Noguchi and Harada 2019, with the biases as shift).

    Not of those that it makes: demodulation would take a factor of its output out again.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(weight.shape[1]))

    def style(self, style: Tensor) -> Tensor:
        return style * self.scale


class LowRank(Adapter):
    """W + up · down, of ``rank`` (LoRA, Hu et al. 2022)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, weight[0].numel()))
        self.up = nn.Parameter(torch.zeros(len(weight), rank))

    def kernel(self, weight: Tensor) -> Tensor:
        return weight + low_rank(self.up, self.down).view_as(weight)


class KernelModulation(Adapter):
    """W · (1 + M), a factor for each pair of channels, M of ``rank`` (AdAM, Zhao et al. 2022)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.randn(rank, weight.shape[1]))
        self.rows = nn.Parameter(torch.zeros(len(weight), rank))

    def kernel(self, weight: Tensor) -> Tensor:
        return weight * (1 + low_rank(self.rows, self.columns))[:, :, None, None]


def low_rank(left: Tensor, right: Tensor) -> Tensor:
    """left @ right / √rank, so that the rank does not decide how fast it learns."""
    return left @ right / math.sqrt(left.shape[1])


class Adaptable(nn.Module):
    """A modulated layer with the parameters ``weight`` and ``affine.*``, beside which an adapter can be put."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.adapter: Adapter | None = None

    def adapt(self, kind: type[Adapter], rank: int) -> None:
        """Puts an adapter of this kind beside the layer."""
        self.adapter = kind(self.weight, rank)

    def adapted(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """The style and the kernel to use."""
        if self.adapter is None:
            return style, self.weight
        return self.adapter.style(style), self.adapter.kernel(self.weight)


def is_adapter(name: str) -> bool:
    """Whether a tensor of a state dict belongs to an adapter."""
    return "adapter" in name.split(".")


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with its adapters' work in the tensors that they sit beside, and without the adapters."""
    plain = {name: value for name, value in state.items() if not is_adapter(name)}
    for name, value in state.items():
        layer, _, part = name.rpartition(".adapter.")
        if part == "scale":
            plain[f"{layer}.affine.weight"] = plain[f"{layer}.affine.weight"] * value[:, None]
            plain[f"{layer}.affine.bias"] = plain[f"{layer}.affine.bias"] * value
        elif part == "up":
            weight = plain[f"{layer}.weight"]
            plain[f"{layer}.weight"] = weight + low_rank(value, state[f"{layer}.adapter.down"]).view_as(weight)
        elif part == "rows":
            factor = 1 + low_rank(value, state[f"{layer}.adapter.columns"])
            plain[f"{layer}.weight"] = plain[f"{layer}.weight"] * factor[:, :, None, None]
    return plain
