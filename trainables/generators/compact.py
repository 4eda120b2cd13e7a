"""A compact noise generator: latent → style → upsampling residual blocks modulated by the style.

Like StyleGAN2's (Karras et al. 2020) it feeds the latent to every layer, and like FastGAN (Liu et al. 2021) it is small enough
for few images. Normalisation is per pixel over channels (Karras et al. 2018), so no sample depends on another in its batch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.generators.frame import Frame, Trunk, noise_problem, power_of_two_problem
from trainables.generators.layers import pixel_norm
from trainables.generators.noise import Noise, labels_problem, no_truncation
from trainables.layers.own_dtype import nearest
from trainables.registry import Options


class CompactOptions(Options):
    """Options of `CompactGenerator`."""

    name: Literal["compact"] = "compact"
    z_dim: int = Field(128, ge=1)
    """Length of the latent vector."""
    channels: int = Field(32, ge=1)
    """Channels at the output resolution; doubled at each halving."""
    max_channels: int = Field(192, ge=1)
    """Upper limit of that doubling."""


class CompactGenerator(nn.Module):
    """[N, z_dim] standard normal latents → [N, out_channels, resolution, resolution] images in [-1, 1]. It has no trunk."""

    Options = CompactOptions
    c_dim = 0

    def __init__(self, options: CompactOptions, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        if problem := self.unfit(options, frame, None):
            raise ValueError(problem)
        blocks = (frame.resolution // 4).bit_length() - 1
        widths = [min(options.max_channels, options.channels << (blocks - i)) for i in range(blocks + 1)]
        self.z_dim = options.z_dim
        self.style = nn.Sequential(nn.Linear(options.z_dim, options.z_dim), nn.LeakyReLU(0.2))
        self.stem = nn.Linear(options.z_dim, widths[0] * 16)
        self.blocks = nn.ModuleList(_UpBlock(before, after, options.z_dim) for before, after in pairwise(widths))
        self.to_image = nn.Conv2d(widths[-1], frame.out_channels, 3, padding=1)

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return [f"blocks.{index}" for index in range(len(self.blocks))]

    @staticmethod
    def unfit(options: CompactOptions, frame: Frame, info: Any) -> str | None:
        """What does not fit ``frame``; None when all does. ``info``, the trunk's, does not matter."""
        return noise_problem("compact", frame) or power_of_two_problem("compact", frame.resolution, 8)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """See `trainables.generators.noise`: it has no classes, no truncation and no noise but z."""
        labels_problem(0, labels)
        no_truncation("compact", truncation)
        assert z.ndim == 2
        assert z.shape[1] == self.z_dim
        z = pixel_norm(z)
        style = self.style(z)
        x = self.stem(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            x = block(x, style)
        return torch.tanh(self.to_image(F.leaky_relu(pixel_norm(x), 0.2)))


class _UpBlock(nn.Module):
    """Doubles the resolution: a residual of two modulated convolutions beside a 1x1 shortcut."""

    def __init__(self, before: int, after: int, style_dim: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(style_dim, 2 * (before + after))
        nn.init.normal_(self.modulation.weight, std=0.05)
        nn.init.zeros_(self.modulation.bias)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)
        self.widths = (before, before, after, after)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        gain1, bias1, gain2, bias2 = self.modulation(style)[:, :, None, None].split(self.widths, dim=1)
        y = F.leaky_relu(pixel_norm(x) * (1 + gain1) + bias1, 0.2)
        y = self.conv1(nearest(y, 2))
        y = F.leaky_relu(pixel_norm(y) * (1 + gain2) + bias2, 0.2)
        # A 1x1 convolution commutes with nearest upsampling and is four times cheaper before it.
        return self.conv2(y) + nearest(self.shortcut(x), 2)
