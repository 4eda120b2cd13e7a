"""A noise generator made of a pretrained classifier turned round: latent → deep features → shallow features → image.

A transposed convolution takes the place of the trunk's fully connected part and makes 4×4 features of the latent; others double
them to the size of the trunk's deepest stage in use; from there stage i of G leads from the trunk's stage i features back to
those of stage i - 1, with the trunk's own kernels as initial values (`trainables.generators.inverted_stage`).
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.generators.frame import Frame, Trunk, noise_problem, power_of_two_problem
from trainables.generators.inverted_stage import InvertedConv, InvertedStage
from trainables.generators.layers import Modulation, pixel_norm
from trainables.generators.noise import Noise, labels_problem, no_truncation
from trainables.registry import Options

_SMALLEST = 4  # side of the features that the latent becomes


class InvertedTrunkOptions(Options):
    """Options of `InvertedTrunkGenerator`."""

    name: Literal["inverted_trunk"] = "inverted_trunk"
    z_dim: int = Field(128, ge=1)
    """Length of the latent vector."""
    frozen_depth: int = Field(0, ge=0)
    """Stages of the trunk, from the image on, whose kernels G keeps as they are; their biases and modulations are trained."""


class InitReport(NamedTuple):
    """Where a network's initial parameters come from: names of parameters by origin, and the share that the trunk gave."""

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    new: tuple[str, ...]
    pretrained_share: float

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} parameters copied from the trunk, {len(self.adapted)} adapted (rescaled or of other channels), "
            f"{len(self.new)} new; {self.pretrained_share:.0%} of all values are pretrained"
        )


class InvertedTrunkGenerator(nn.Module):
    """[N, z_dim] standard normal latents → [N, out_channels, resolution, resolution] images in [-1, 1].

    Args:
        options: see `InvertedTrunkOptions`.
        frame: the image's size and channels.
        trunk: gives a VGG or ResNet; as many of its stages are used as leave features of at least 4×4.

    Raises:
        ValueError: the frame or the trunk does not fit (`unfit`).
    """

    Options = InvertedTrunkOptions
    c_dim = 0

    def __init__(self, options: InvertedTrunkOptions, frame: Frame, trunk: Trunk) -> None:
        super().__init__()
        backbone = trunk(3)
        if problem := self.unfit(options, frame, backbone.info):
            raise ValueError(problem)
        layers = backbone.info.layers[: _depth(frame, backbone.info)]
        self.z_dim = options.z_dim
        self.mapping = nn.Sequential(nn.Linear(options.z_dim, options.z_dim), nn.LeakyReLU(0.2))
        deepest = layers[-1].channels
        self.stem = nn.ConvTranspose2d(options.z_dim, deepest, _SMALLEST)
        doublings = (frame.resolution // layers[-1].stride // _SMALLEST).bit_length() - 1
        self.doublings = nn.ModuleList(_Doubling(deepest, options.z_dim) for _ in range(doublings))
        self.stages = nn.ModuleList(InvertedStage(stage, options.z_dim) for stage in backbone.stages[: len(layers)])
        _fit_image(self.stages[0].parts[-1], frame.out_channels)  # type: ignore[index, arg-type]
        for stage in self.stages[: options.frozen_depth]:
            for convolution in _inverted_convs(stage):
                convolution.convolution.weight.requires_grad_(False)

    @property
    def feature_layers(self) -> list[str]:
        """Names of the submodules whose outputs are its features, coarse to fine."""
        doublings = [f"doublings.{index}" for index in range(len(self.doublings))]
        stages = [f"stages.{index}" for index in reversed(range(1, len(self.stages)))]  # the first one makes the picture
        return ["stem", *doublings, *stages]

    @staticmethod
    def unfit(options: InvertedTrunkOptions, frame: Frame, info: Any) -> str | None:
        """What does not fit the frame or the trunk that ``info`` describes; None when all does."""
        if not re.fullmatch(r"(torchvision/)?(vgg|resnet)\d+(_bn)?", info.name):
            return f"inverted_trunk needs a VGG or ResNet of torchvision, but got {info.name}"
        if problem := noise_problem("inverted_trunk", frame):
            return problem
        if problem := power_of_two_problem("inverted_trunk", frame.resolution, max(8, _SMALLEST * info.layers[0].stride)):
            return problem
        depth = _depth(frame, info)
        if options.frozen_depth > depth:
            used = f"the stages of {info.name} in use at {frame.resolution} px"
            return f"frozen_depth of inverted_trunk must be <= {depth}, {used}, but got {options.frozen_depth}"
        return None

    @property
    def start_report(self) -> InitReport:
        """Which parameters the trunk gave."""
        parts: dict[str, list[str]] = {"copied": [], "adapted": [], "new": []}
        origins = {id(c.convolution.weight): c.origin for stage in self.stages for c in _inverted_convs(stage)}
        sizes = {"new": 0, "pretrained": 0}
        for name, parameter in self.named_parameters():
            origin = origins.get(id(parameter), "new")
            parts[origin].append(name)
            sizes["new" if origin == "new" else "pretrained"] += parameter.numel()
        share = sizes["pretrained"] / sum(sizes.values())
        return InitReport(tuple(parts["copied"]), tuple(parts["adapted"]), tuple(parts["new"]), share)

    def forward(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """See `trainables.generators.noise`: it has no classes, no truncation and no noise but z."""
        labels_problem(0, labels)
        no_truncation("inverted_trunk", truncation)
        assert z.ndim == 2
        assert z.shape[1] == self.z_dim
        z = pixel_norm(z)
        style = self.mapping(z)
        x = self.stem(z[:, :, None, None])
        for doubling in self.doublings:
            x = doubling(x, style)
        return self.decode(x, style)

    def decode(self, features: Tensor, style: Tensor) -> Tensor:
        """Images [N, out_channels, s·h, s·w] in [-1, 1] of features [N, C, h, w] after the deepest stage in use, of stride s.

        ``style`` is [N, z_dim]; zeros leave every modulation at what it is for no style.
        """
        x = features
        for stage in reversed(self.stages):
            x = stage(x, style)
        return torch.tanh(x)


class _Doubling(nn.Module):
    """[N, C, h, w] → [N, C, 2h, 2w] by a transposed convolution of stride 2 (4×4 kernels: each pixel has as many terms)."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels, style_dim)
        self.convolution = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.convolution(nn.functional.leaky_relu(self.modulation(pixel_norm(x), style), 0.2))


def _depth(frame: Frame, info: Any) -> int:
    """How many stages of the trunk leave features of at least 4×4 of an image of the frame's resolution."""
    return sum(frame.resolution >= _SMALLEST * layer.stride for layer in info.layers)


def _inverted_convs(module: nn.Module) -> list[InvertedConv]:
    return [part for part in module.modules() if isinstance(part, InvertedConv)]


def _fit_image(last: nn.Module, channels: int) -> None:
    """Gives the inverse of the trunk's first convolution the image's channels, and a scale at which tanh is not saturated.

    Grey is the mean of red, green and blue; channels beyond the three start at zero, which is mid-grey.
    """
    assert isinstance(last, InvertedConv)
    kernel = last.convolution.weight.detach()  # [C, 3, k, k]
    if channels == 1:
        kernel = kernel.mean(dim=1, keepdim=True)
    elif channels != 3:
        more = kernel.new_zeros(len(kernel), max(channels - 3, 0), *kernel.shape[2:])
        kernel = torch.cat([kernel[:, : min(channels, 3)], more], dim=1)
    spread = kernel.square().sum(dim=(0, 2, 3)).mean().sqrt()  # of an output pixel, for inputs of unit spread
    convolution = last.convolution
    bias = torch.zeros(channels)
    convolution.out_channels = channels
    convolution.weight, convolution.bias = nn.Parameter(kernel * (0.5 / spread)), nn.Parameter(bias)
    last.origin = "adapted"
