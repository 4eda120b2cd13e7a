"""The generator of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) as StyleGAN2-ADA (arXiv 2006.06676) trains it.

Parameters have the official names and scales, so that a checkpoint's tensors are this network's own. Pure torch: modulated
convolutions scale activations (`trainables.layers.modulated`), filters are plain convolutions (`trainables.layers.fir`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.generators.adaptation import ADAPTATIONS, FrozenOptions, adapt
from trainables.generators.frame import Frame, Trunk, noise_problem, power_of_two_problem
from trainables.generators.noise import Noise, labels_problem
from trainables.layers.equalized import EqualizedConv
from trainables.layers.fir import upsample
from trainables.layers.keyed_noise import keyed_normal, keyed_uniform, keys_of
from trainables.layers.mapping import Mapping
from trainables.layers.miner import Miner
from trainables.layers.modulated import ModulatedConv, ToRgb
from trainables.layers.own_dtype import own_dtype
from trainables.registry import Options, names_of

if TYPE_CHECKING:  # the members of this type are the registry's entries, which only run time knows
    AdaptationName: TypeAlias = str
else:
    AdaptationName = names_of(ADAPTATIONS)

_MIXED, _WHETHER = 2**16, 2**16 + 1  # purposes of keyed numbers beyond those of the layers


class StyleGan2Options(Options):
    """Options of `StyleGan2Generator`. Defaults are the official ones of 256 px; a source brings its own."""

    name: Literal["stylegan2"] = "stylegan2"
    z_dim: int = Field(512, ge=1)
    """Length of the latent vector."""
    w_dim: int = Field(512, ge=1)
    """Length of the style vector."""
    c_dim: int = Field(0, ge=0)
    """Classes; 0 for none."""
    mapping_layers: int = Field(8, ge=1)
    """Fully connected layers from z to w."""
    channel_base: int = Field(16384, ge=1)
    """Channels at a resolution r are channel_base / r; the official cfg takes 16384 below 512 px, else 32768."""
    channel_max: int = Field(512, ge=1)
    """Upper limit of that."""
    architecture: Literal["skip", "resnet"] = "skip"
    """Whether each block adds its own picture, or the last alone makes one and blocks have residuals."""
    clamp: float | None = Field(256.0, gt=0)
    """Activations stay within ± this, so that half precision can hold them; None for no limit."""
    style_mixing: float = Field(0.0, ge=0, le=1)
    """With which probability a training sample takes another latent's styles from a random layer on (Karras et al. 2019)."""
    adapt: AdaptationName = "full"
    """What is trained: "full", the style layers ("affine"), a scale and a bias for each channel ("scale_shift"), or small
    matrices beside the kernels ("lora", "kernel_modulation")."""
    adapt_rank: int = Field(4, ge=1)
    """Rank of those matrices."""
    frozen: FrozenOptions = FrozenOptions()
    """What is not trained in any case."""
    miner_layers: int = Field(0, ge=0)
    """Layers of a network before the mapping that learns which latents suit the target (MineGAN, Wang et al. 2020); 0: none."""
    miner_alone_kimg: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Thousand images at the beginning in which the miner alone is trained."""

    TRAINING: ClassVar[frozenset[str]] = frozenset({"style_mixing", "adapt", "adapt_rank", "frozen", "miner_alone_kimg"})
    """Options that say how a network is trained, not what it is: a source does not hand them on."""


class StyleGan2Generator(nn.Module):
    """[N, z_dim] standard normal latents → [N, out_channels, resolution, resolution] images, not bounded. It has no trunk."""

    Options = StyleGan2Options

    def __init__(self, options: StyleGan2Options, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        if problem := self.unfit(options, frame, None):
            raise ValueError(problem)
        self.z_dim, self.c_dim, self.style_mixing = options.z_dim, options.c_dim, options.style_mixing
        self.mapping = Mapping(options.z_dim, options.c_dim, options.w_dim, options.mapping_layers)
        self.synthesis = Synthesis(options, frame)
        self.miner = Miner(options.z_dim, options.miner_layers) if options.miner_layers else None
        self.miner_alone_kimg = options.miner_alone_kimg
        adapt(self, options.adapt, options.adapt_rank, lambda name: _is_frozen(name, options.frozen))

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return [f"synthesis.b{resolution}.conv1" for resolution in self.synthesis.resolutions]

    @staticmethod
    def untrained_layers(options: StyleGan2Options, resolution: int) -> int:
        """How many of `feature_layers`, coarse to fine, always give what they gave at first: nothing below them is trained."""
        if options.miner_layers or (options.adapt == "full" and not options.frozen.mapping):
            return 0
        return sum(side < options.frozen.below for side in _sides(resolution))

    @staticmethod
    def unfit(options: StyleGan2Options, frame: Frame, info: Any) -> str | None:
        """What does not fit ``frame``; None when all does. ``info``, the trunk's, does not matter."""
        if options.frozen.below > frame.resolution:
            below, side = options.frozen.below, frame.resolution
            return f"frozen.below of stylegan2 must be <= {side}, the resolution, or nothing is trained, but got {below}"
        if options.miner_alone_kimg and not options.miner_layers:
            return "miner_alone_kimg of stylegan2 needs miner_layers >= 1, but got 0"
        return noise_problem("stylegan2", frame) or power_of_two_problem("stylegan2", frame.resolution, 8)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """Args:
        z: latents, [N, z_dim].
        labels: [N, c_dim], one-hot; None without classes.
        truncation: ψ, how far styles go from their mean; 1 all the way.
        noise: "const" takes each layer's own constant noise; "random" draws it, keyed by z, and in training mode mixes styles.
        """
        styles = self.styles(z, labels, truncation=truncation, noise=noise)
        return self.pictures(styles, keys_of(z) if noise == "random" else None)

    def styles(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """See `StyleBased`; with "random" noise and in training mode, mixed."""
        labels_problem(self.c_dim, labels)
        styles = self.style(z, labels, truncation)[:, None].expand(-1, self.synthesis.styles, -1)
        if noise == "random" and self.training and self.style_mixing:
            styles = self._mixed(styles, keys_of(z), labels, truncation)
        return styles

    def pictures(self, styles: Tensor, keys: Tensor | None = None) -> Tensor:
        """See `StyleBased`."""
        return self.synthesis(styles, keys)

    def style(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Latents [N, z_dim] → styles [N, w_dim]."""
        return self.mapping(z if self.miner is None else self.miner(z), labels, truncation)

    def _mixed(self, styles: Tensor, keys: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        other = self.style(keyed_normal(keys, _MIXED, self.z_dim).to(styles.dtype), labels, truncation)
        chance, place = keyed_uniform(keys, _WHETHER, 2).unbind(1)
        count = self.synthesis.styles
        first = torch.where(chance < self.style_mixing, 1 + (place * (count - 1)).floor(), count)
        taken = torch.arange(count, device=keys.device)[None] >= first[:, None]
        return torch.where(taken[:, :, None], other[:, None], styles)


def _is_frozen(name: str, frozen: FrozenOptions) -> bool:
    part, _, rest = name.partition(".")
    if part != "synthesis":
        return part == "mapping" and frozen.mapping
    block, _, tensor = rest.partition(".")
    return (tensor == "const" and frozen.constant) or int(block[1:]) < frozen.below


def _sides(resolution: int) -> list[int]:
    """Of the blocks, coarse to fine."""
    return [2**i for i in range(2, int(math.log2(resolution)) + 1)]


class Synthesis(nn.Module):
    """[N, styles, w_dim] → images, through blocks ``b4``, ``b8`` and so on to the resolution."""

    def __init__(self, options: StyleGan2Options, frame: Frame) -> None:
        super().__init__()
        self.skip = options.architecture == "skip"
        resolutions = _sides(frame.resolution)
        before = 0
        for resolution in resolutions:
            channels = min(options.channel_base // resolution, options.channel_max)
            rgb = frame.out_channels if self.skip or resolution == resolutions[-1] else 0
            self.add_module(f"b{resolution}", Block(before, channels, rgb, resolution, options))
            before = channels
        self.resolutions = resolutions
        self.styles = 2 * len(resolutions)  # one for each convolution, one for the last torgb

    def blocks(self) -> Iterator[Block]:
        """Coarse to fine."""
        for resolution in self.resolutions:
            yield self.get_submodule(f"b{resolution}")  # type: ignore[misc]

    def forward(self, styles: Tensor, keys: Tensor | None = None) -> Tensor:
        """``keys``: see `ModulatedConv`."""
        x, image, place = None, None, 0
        for block in self.blocks():
            convolutions = 1 if block.first else 2
            # The picture of a block takes the style of the next block's first convolution.
            x, image = block(x, image, styles[:, place : place + convolutions + 1], keys, place)
            place += convolutions
        assert image is not None
        return image


class Block(nn.Module):
    """Features and image of half the resolution → those of this one."""

    def __init__(self, before: int, channels: int, rgb: int, resolution: int, options: StyleGan2Options) -> None:
        super().__init__()
        self.first = before == 0
        w_dim, clamp = options.w_dim, options.clamp
        if self.first:
            self.const = nn.Parameter(torch.randn(channels, resolution, resolution))
        else:
            self.conv0 = ModulatedConv(before, channels, w_dim, resolution=resolution, up=True, clamp=clamp)
        self.conv1 = ModulatedConv(channels, channels, w_dim, resolution=resolution, up=False, clamp=clamp)
        self.residual = options.architecture == "resnet" and not self.first
        if self.residual:
            self.skip = EqualizedConv(before, channels, 1, bias=False, up=True)
        if rgb:
            self.torgb = ToRgb(channels, rgb, w_dim, clamp=clamp)
        self.makes_image = rgb > 0

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: Tensor, keys: Tensor | None, place: int
    ) -> tuple[Tensor, Tensor | None]:
        if x is None:
            x = self.const.expand(len(styles), -1, -1, -1)
            x = self.conv1(x, styles[:, 0], keys, place)
        else:
            half = math.sqrt(0.5)
            shortcut = self.skip(x, gain=half) if self.residual else None
            x = self.conv0(x, styles[:, 0], keys, place)
            x = self.conv1(x, styles[:, 1], keys, place + 1, gain=half if self.residual else 1.0)
            x = x if shortcut is None else x + shortcut
        if image is not None:
            with own_dtype(image):  # float32: half precision would add its rounding once for each block
                image = upsample(image)
        if self.makes_image:
            rgb = self.torgb(x, styles[:, -1]).float() if x.dtype != torch.float64 else self.torgb(x, styles[:, -1])
            image = rgb if image is None else image + rgb
        return x, image
