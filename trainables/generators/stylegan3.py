"""The generator of StyleGAN3 (Karras et al. 2021, arXiv 2106.12423), configurations T and R: what it draws can move freely.

Parameters have the official names and scales, so that a checkpoint's tensors are this network's own. Pure torch, so many times
slower than with kernels of its own: upsampled maps are written to memory and read again (`trainables.layers.filtered_lrelu`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, float64, nn

from trainables.generators.frame import Frame, Trunk, noise_problem, power_of_two_problem
from trainables.generators.noise import Noise, labels_problem
from trainables.layers.filtered_lrelu import FilteredConv, NormalizedToRgb, Signal
from trainables.layers.fourier_input import FourierInput
from trainables.layers.mapping import Mapping
from trainables.registry import Options


class StyleGan3Options(Options):
    """Options of `StyleGan3Generator`. Defaults are the official ones of configuration T; a source brings its own.

    R has ``conv_kernel: 1``, ``use_radial_filters: true`` and twice the channels.
    """

    name: Literal["stylegan3"] = "stylegan3"
    z_dim: int = Field(512, ge=1)
    """Length of the latent vector."""
    w_dim: int = Field(512, ge=1)
    """Length of the style vector."""
    c_dim: int = Field(0, ge=0)
    """Classes; 0 for none."""
    mapping_layers: int = Field(2, ge=1)
    """Fully connected layers from z to w."""
    channel_base: int = Field(32768, ge=1)
    """Channels of a layer whose cutoff is f are channel_base / (2 f)."""
    channel_max: int = Field(512, ge=1)
    """Upper limit of that."""
    num_layers: int = Field(14, ge=2, le=64)
    """Layers between the input and the one that makes the picture."""
    num_critical: int = Field(2, ge=1)
    """How many of them, the last, keep all frequencies that the picture can hold."""
    first_cutoff: float = Field(2.0, gt=0)
    """Frequencies up to this pass the first layer, in cycles per side of the picture; each further layer lets more pass."""
    first_stopband: float = Field(2**2.1, ge=1)
    """Frequencies from this on are stopped by the first layer."""
    last_stopband_rel: float = Field(2**0.3, gt=1)
    """Where the last layers stop frequencies, over the highest that the picture can hold."""
    margin_size: int = Field(10, ge=0, le=64)
    """Samples around the picture that all layers but the last two have on each side."""
    output_scale: float = Field(0.25, gt=0)
    """By what the last layer's output is multiplied."""
    conv_kernel: Literal[1, 3] = 3
    """Side of the convolutions' kernels; 1 cannot tell directions apart."""
    filter_size: int = Field(6, ge=2, le=32)
    """Taps of the low-pass filters for each sample of the coarser rate."""
    lrelu_upsampling: int = Field(2, ge=2, le=8, multiple_of=2)
    """By how much the rate at which leaky ReLU is applied exceeds its layer's."""
    use_radial_filters: bool = False
    """Whether the filters after it, but those of the critical layers, have no direction."""
    clamp: float | None = Field(256.0, gt=0)
    """Activations stay within ± this, so that half precision can hold them; None for no limit."""

    @model_validator(mode="after")
    def _filters_exist(self) -> StyleGan3Options:
        if self.num_critical >= self.num_layers:
            raise ValueError(f"num_critical < num_layers must hold, but got {self.num_critical} and {self.num_layers}")
        if self.first_cutoff >= self.first_stopband:
            raise ValueError(f"first_cutoff < first_stopband must hold, but got {self.first_cutoff} and {self.first_stopband}")
        return self


class StyleGan3Generator(nn.Module):
    """[N, z_dim] standard normal latents → [N, out_channels, resolution, resolution] images, not bounded. It has no trunk.

    What each layer may let pass follows from the resolution: a network of another one has other layers, so none can be cut out.
    """

    Options = StyleGan3Options

    def __init__(self, options: StyleGan3Options, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        if problem := self.unfit(options, frame, None):
            raise ValueError(problem)
        self.z_dim, self.c_dim = options.z_dim, options.c_dim
        self.mapping = Mapping(options.z_dim, options.c_dim, options.w_dim, options.mapping_layers)
        self.synthesis = Synthesis(options, frame)

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return [f"synthesis.{name}" for name in self.synthesis.names[:-1]]

    @staticmethod
    def unfit(options: StyleGan3Options, frame: Frame, info: Any) -> str | None:
        """What does not fit ``frame``; None when all does. ``info``, the trunk's, does not matter."""
        # Powers of two: sampling rates are, and the last is the picture's. Its highest frequency is half of it.
        smallest = max(8, 2 ** (math.floor(math.log2(2 * options.first_cutoff)) + 1))
        return noise_problem("stylegan3", frame) or power_of_two_problem("stylegan3", frame.resolution, smallest)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """Args:
        z: latents, [N, z_dim].
        labels: [N, c_dim], one-hot; None without classes.
        truncation: ψ, how far styles go from their mean; 1 all the way.
        noise: makes no difference: this network has none.
        """
        return self.pictures(self.styles(z, labels, truncation=truncation, noise=noise))

    def styles(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """See `StyleBased`."""
        labels_problem(self.c_dim, labels)
        return self.style(z, labels, truncation)[:, None].expand(-1, self.synthesis.styles, -1)

    def pictures(self, styles: Tensor, keys: Tensor | None = None) -> Tensor:
        """See `StyleBased`; ``keys`` make no difference."""
        return self.synthesis(styles)

    def style(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Latents [N, z_dim] → styles [N, w_dim]."""
        return self.mapping(z, labels, truncation)


class Synthesis(nn.Module):
    """[N, styles, w_dim] → images, through ``input`` and layers named ``L{index}_{size}_{channels}``."""

    def __init__(self, options: StyleGan3Options, frame: Frame) -> None:
        super().__init__()
        signals, widths = progression(options, frame.resolution)
        self.output_scale = options.output_scale
        self.input = FourierInput(widths[0], options.w_dim, signals[0])
        self.names: list[str] = []
        before, width = signals[0], widths[0]
        for index in range(options.num_layers):
            layer = FilteredConv(
                width,
                widths[index],
                options.w_dim,
                before,
                signals[index],
                kernel=options.conv_kernel,
                taps=options.filter_size,
                oversampling=options.lrelu_upsampling,
                radial=options.use_radial_filters and index < options.num_layers - options.num_critical,
                clamp=options.clamp,
            )
            before, width = signals[index], widths[index]
            self._append(layer, index, before.size, width)
        to_rgb = NormalizedToRgb(width, frame.out_channels, options.w_dim, clamp=options.clamp)
        self._append(to_rgb, options.num_layers, before.size, frame.out_channels)
        self.styles = options.num_layers + 2  # one for the input, one for each layer

    def _append(self, layer: nn.Module, index: int, size: int, channels: int) -> None:
        self.names.append(f"L{index}_{size}_{channels}")
        self.add_module(self.names[-1], layer)

    def layers(self) -> Iterator[nn.Module]:
        """Coarse to fine, the one that makes the picture last."""
        return map(self.get_submodule, self.names)

    def forward(self, styles: Tensor) -> Tensor:
        first, *others = styles.unbind(1)
        x = self.input(first)
        for layer, w in zip(self.layers(), others, strict=True):
            x = layer(x, w)
        return (x if x.dtype == float64 else x.float()) * self.output_scale


def progression(options: StyleGan3Options, resolution: int) -> tuple[list[Signal], list[int]]:
    """What the maps after each layer can hold, and their channels (Karras et al. 2021, section 3.2, "flexible layers").

    Cutoff and stopband grow geometrically to those of the picture, which the critical layers have.
    """
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * options.last_stopband_rel
    signals, widths = [], []
    for index in range(options.num_layers):
        way = min(index / (options.num_layers - options.num_critical), 1)
        cutoff = options.first_cutoff * (last_cutoff / options.first_cutoff) ** way
        stopband = options.first_stopband * (last_stopband / options.first_stopband) ** way
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        # The last layer before the picture drops the margin.
        size = resolution if index == options.num_layers - 1 else rate + 2 * options.margin_size
        signals.append(Signal(size, rate, cutoff, max(stopband, rate / 2) - cutoff))
        widths.append(round(min(options.channel_base / 2 / cutoff, options.channel_max)))
    return signals, widths
