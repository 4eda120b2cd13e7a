"""The discriminator of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) as StyleGAN2-ADA trains it, with FreezeD.

Parameters have the official names and scales. The one layer that looks at several samples, the minibatch standard deviation
(Karras et al. 2018, section 3), looks at groups of consecutive ones: whatever shares a batch by whole groups gives the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.discriminators.condition import condition_problems, required
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk, raise_if
from trainables.layers.equalized import EqualizedConv, EqualizedLinear
from trainables.layers.fir import downsample
from trainables.layers.mapping import Mapping
from trainables.registry import Options


class StyleGan2Options(Options):
    """Options of `StyleGan2Discriminator`. Defaults are the official ones of 256 px; a source brings its own."""

    name: Literal["stylegan2"] = "stylegan2"
    c_dim: int = Field(0, ge=0)
    """Classes; 0 for none."""
    channel_base: int = Field(16384, ge=1)
    """Channels at a resolution r are channel_base / r; the official cfg takes 16384 below 512 px, else 32768."""
    channel_max: int = Field(512, ge=1)
    """Upper limit of that."""
    mapping_layers: int = Field(8, ge=0)
    """Fully connected layers from a class to what its logit is projected on."""
    architecture: Literal["resnet", "skip"] = "resnet"
    """Whether blocks have residuals, or each sees the picture at its own resolution."""
    clamp: float | None = Field(256.0, gt=0)
    """Activations stay within ± this, so that half precision can hold them; None for no limit."""
    minibatch_std: bool = True
    """Whether the last layers see the standard deviation over a group of samples."""
    mbstd_group: int = Field(4, ge=2)
    """That many consecutive samples. Every worker's share of a batch, and of a micro-batch, must be a multiple of it."""
    frozen_depth: int = Field(0, ge=0)
    """Blocks that keep their parameters, from the highest resolution on (FreezeD, Mo et al. 2020)."""
    TRAINING: ClassVar[frozenset[str]] = frozenset({"frozen_depth", "mbstd_group"})
    """Options that say how a network is trained, not what it is: a source does not hand them on."""

    @property
    def group(self) -> int:
        """`Discriminator.group` of these options."""
        return self.mbstd_group if self.minibatch_std else 1

    conditional: bool = False
    """Whether D judges the pair of image and condition, joined where it reads the image, or the image alone."""


class StyleGan2Discriminator(Discriminator):
    """One logit for each image, [N, 1, 1, 1].

    Raises:
        ValueError: the resolution is no power of two, or there are fewer blocks than are frozen.
    """

    Options = StyleGan2Options
    trunkless = True

    def __init__(self, options: StyleGan2Options, trunk: Trunk, condition_channels: int = 0, resolution: int = 0) -> None:
        super().__init__()
        raise_if(self.unfit(options, None, resolution, condition_channels))
        self.c_dim, self.group, self.conditional = options.c_dim, options.group, options.conditional
        self.resolutions = _resolutions(resolution)
        widths = {r: min(options.channel_base // r, options.channel_max) for r in (*self.resolutions, 4)}
        image_channels = 3 + (condition_channels if options.conditional else 0)
        skip = options.architecture == "skip"
        for r in self.resolutions:
            seen = image_channels if skip or r == resolution else 0
            self.add_module(f"b{r}", Block(widths[r], widths[r // 2], seen, skip, options.clamp))
        if options.c_dim:
            self.mapping = Mapping(0, options.c_dim, widths[4], options.mapping_layers)
        self.b4 = Epilogue(widths[4], widths[4] if options.c_dim else 1, image_channels if skip else 0, options)
        for r in self.resolutions[: options.frozen_depth]:
            self.get_submodule(f"b{r}").requires_grad_(False)

    def forward(self, images: Tensor, condition: Tensor | None = None, labels: Tensor | None = None) -> list[Tensor]:
        """``labels``: [N, c_dim], one-hot; None without classes."""
        if len(images) % self.group:
            raise ValueError(f"images must come in groups of mbstd_group, {self.group}, but there are {len(images)}")
        *_, (_, x, image) = self._through_blocks(images, condition)
        logits = self.b4(x, image)
        if self.c_dim:
            if labels is None or labels.shape[1] != self.c_dim:
                raise ValueError(f"this discriminator needs labels of {self.c_dim} classes, [N, {self.c_dim}], but got {labels}")
            projected = self.mapping(None, labels)
            logits = (logits * projected).sum(dim=1, keepdim=True) / math.sqrt(projected.shape[1])
        return [logits[:, :, None, None]]

    def features(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """What its blocks above 4 px make of images, by their names, fine to coarse."""
        return {name: x for name, x, _ in self._through_blocks(images, condition)}

    def _through_blocks(self, images: Tensor, condition: Tensor | None) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """After each: its name, features and the image that the next one sees."""
        x: Tensor | None = None
        image: Tensor | None = torch.cat([images, required(condition)], dim=1) if self.conditional else images
        for r in self.resolutions:
            x, image = self.get_submodule(f"b{r}")(x, image)
            assert x is not None
            yield f"b{r}", x, image

    @classmethod
    def trains_features(cls, options: StyleGan2Options, info: Any, resolution: int) -> bool:
        return options.frozen_depth < len(_resolutions(resolution))

    @classmethod
    def unfit(cls, options: StyleGan2Options, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        problems = condition_problems(options.conditional, condition_channels)
        if resolution < 8 or resolution.bit_count() != 1:
            return [*problems, ("name", f"stylegan2 takes a resolution that is a power of two >= 8, but got {resolution}")]
        blocks = len(_resolutions(resolution))
        if options.frozen_depth > blocks:
            got = options.frozen_depth
            problems.append(("frozen_depth", f"must be <= {blocks}, the blocks above 4 px at {resolution} px, but got {got}"))
        return problems


class Block(nn.Module):
    """Features and image of a resolution → those of half of it."""

    def __init__(self, before: int, after: int, image_channels: int, skip: bool, clamp: float | None) -> None:
        super().__init__()
        self.passes_image, self.sees_image = skip, image_channels > 0
        if image_channels:
            self.fromrgb = EqualizedConv(image_channels, before, 1, activate=True, clamp=clamp)
        self.conv0 = EqualizedConv(before, before, 3, activate=True, clamp=clamp)
        self.conv1 = EqualizedConv(before, after, 3, activate=True, down=True, clamp=clamp)
        if not skip:
            self.skip = EqualizedConv(before, after, 1, bias=False, down=True)

    def forward(self, x: Tensor | None, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.sees_image:
            assert image is not None
            y = self.fromrgb(image)
            x = y if x is None else x + y
            image = downsample(image) if self.passes_image else None
        assert x is not None
        if self.passes_image:
            return self.conv1(self.conv0(x)), image
        half = math.sqrt(0.5)
        return self.skip(x, gain=half) + self.conv1(self.conv0(x), gain=half), image


class Epilogue(nn.Module):
    """[N, C, 4, 4] → [N, out]."""

    def __init__(self, channels: int, out: int, image_channels: int, options: StyleGan2Options) -> None:
        super().__init__()
        self.group, self.sees_image = options.group, image_channels > 0
        if image_channels:
            self.fromrgb = EqualizedConv(image_channels, channels, 1, activate=True, clamp=options.clamp)
        more = 1 if self.group > 1 else 0
        self.conv = EqualizedConv(channels + more, channels, 3, activate=True, clamp=options.clamp)
        self.fc = EqualizedLinear(channels * 16, channels, activate=True)
        self.out = EqualizedLinear(channels, out)

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        if self.sees_image:
            assert image is not None
            x = x + self.fromrgb(image)
        if self.group > 1:
            x = torch.cat([x, spread_in_groups(x, self.group)], dim=1)
        return self.out(self.fc(self.conv(x).flatten(1)))


def spread_in_groups(x: Tensor, group: int) -> Tensor:
    """The standard deviation over each ``group`` of consecutive samples, averaged over [C, h, w]: [N, C, h, w] → [N, 1, h, w]."""
    n, _, height, width = x.shape
    y = x.reshape(n // group, group, -1).to(torch.promote_types(x.dtype, torch.float32))
    spread = (y.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    return spread.to(x.dtype).repeat_interleave(group).view(n, 1, 1, 1).expand(-1, -1, height, width)


def _resolutions(resolution: int) -> list[int]:
    """Of the blocks before the last, fine to coarse."""
    return [2**i for i in range(int(math.log2(resolution)), 2, -1)]
