"""An image-to-image generator on a pretrained encoder: frozen to a depth, and a sub-pixel decoder with skip connections."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.generators.decoder import Level, SubpixelDecoder, padded
from trainables.generators.frame import Frame, Trunk, image_problem
from trainables.registry import Options


class EncoderDecoderOptions(Options):
    """Options of `EncoderDecoderGenerator`."""

    name: Literal["encoder_decoder"] = "encoder_decoder"
    frozen_depth: int = Field(1, ge=0)
    """Stages of the trunk that keep their pretrained parameters; 0 trains all of the encoder."""
    channels: int = Field(32, ge=1)
    """Width of the decoder at full resolution; four times as wide from a quarter of it on."""
    depth: int | None = Field(None, ge=1)
    """How many of the trunk's stages encode; None takes all whose features of a training image are at least 4×4."""
    blocks: int = Field(2, ge=0)
    """Residual blocks at full resolution, two 3×3 convolutions each."""


class EncoderDecoderGenerator(nn.Module):
    """[N, in_channels, H, W] images → [N, out_channels, H, W], unbounded and zero at the start; any H and W.

    Args:
        options: see `EncoderDecoderOptions`.
        frame: the size of the images of training, and the channels.
        trunk: gives the encoder, which this generator owns from now on.

    Raises:
        ValueError: the frame or the trunk does not fit (`unfit`).
    """

    Options = EncoderDecoderOptions
    z_dim = 0

    def __init__(self, options: EncoderDecoderOptions, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        if problem := image_problem("encoder_decoder", frame):
            raise ValueError(problem)
        self.backbone = trunk(frame.in_channels)
        if problem := self.unfit(options, frame, self.backbone.info):
            raise ValueError(problem)
        depth = _depth(options, frame, self.backbone.info)
        self.backbone.freeze(options.frozen_depth)
        del self.backbone.stages[depth:]
        layers = self.backbone.info.layers[:depth]
        self.layers = [layer.name for layer in layers]
        self.stride = layers[-1].stride
        self.smallest_side = self.backbone.info.smallest_sides[depth - 1]
        levels = [Level(layer.channels, layer.stride, scale) for layer, scale in zip(layers, self._scales(frame), strict=True)]
        self.decoder = SubpixelDecoder(levels, frame.in_channels, frame.out_channels, options.channels, options.blocks)

    @torch.no_grad()
    def _scales(self, frame: Frame) -> list[Tensor]:
        """The root mean square of each layer's features of a picture of noise that is coarse and fine."""
        draw, side = torch.Generator().manual_seed(0), max(64, self.smallest_side)
        sizes = [size for size in (4, 16, 64) if size <= side]
        noise = [torch.rand(1, frame.in_channels, size, size, generator=draw) - 0.5 for size in sizes]
        images = torch.stack([F.interpolate(x, size=(side, side), mode="bilinear") for x in noise]).sum(dim=0)
        features = self.backbone(padded(images.to(next(self.backbone.parameters())), self.stride), self.layers)
        return [features[layer].square().mean().sqrt().clamp_min(1e-6) for layer in self.layers]

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        return [f"decoder.{name}" for name in self.decoder.feature_layers]

    @staticmethod
    def unfit(options: EncoderDecoderOptions, frame: Frame, info: Any) -> str | None:
        """What does not fit the frame or the trunk that ``info`` describes; None when all does."""
        if problem := image_problem("encoder_decoder", frame):
            return problem
        depth = _depth(options, frame, info)
        if depth == 0:
            smallest = 4 * info.layers[0].stride
            return f"encoder_decoder on {info.name} needs images of at least {smallest} px a side, but got {frame.resolution}"
        if depth > info.depth:
            return f"depth of encoder_decoder must be <= {info.depth}, the stages of {info.name}, but got {depth}"
        if (stride := info.layers[depth - 1].stride) > frame.resolution:
            what = f"the side of the images must be at least the stride of the deepest stage in use ({stride})"
            return f"depth {depth} of encoder_decoder is too much for {info.name}: {what}, but got {frame.resolution}"
        if options.frozen_depth > depth:
            used = f"the stages of {info.name} in use at {frame.resolution} px"
            return f"frozen_depth of encoder_decoder must be <= {depth}, {used}, but got {options.frozen_depth}"
        return None

    def forward(self, images: Tensor) -> Tensor:
        assert images.ndim == 4
        height, width = images.shape[-2:]
        images = padded(images, self.stride, self.smallest_side)
        features = self.backbone(images, self.layers)
        return self.decoder(images, [features[layer] for layer in self.layers])[..., :height, :width]


def _depth(options: EncoderDecoderOptions, frame: Frame, info: Any) -> int:
    if options.depth is not None:
        return options.depth
    return sum(frame.resolution >= 4 * layer.stride for layer in info.layers)
