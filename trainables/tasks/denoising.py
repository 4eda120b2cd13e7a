"""Denoising: Gaussian noise, photon counts (Poisson) or the artefacts of JPEG. G sees the noisy picture and adds a correction.

Strengths are drawn for each picture, so that one network takes a range of them (blind denoising, Zhang et al. 2017, DnCNN-B).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from trainables.tasks.ranges import as_file, from_levels, to_levels
from trainables.tasks.task import PairedOptions, PairedTask, ResidualTask


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"low <= high must hold, but got {list(value)}")
    return value


_Sigma = Annotated[float, Field(gt=0, le=1)]
_Photons = Annotated[float, Field(gt=0, le=1e6)]
_Quality = Annotated[int, Field(ge=1, le=95)]

_STRENGTH = {"gaussian": "sigma", "poisson": "photons", "jpeg": "quality"}
_USUAL: dict[str, tuple[float, float]] = {"sigma": (0.06, 0.2), "photons": (10.0, 60.0), "quality": (5, 30)}


class DenoisingOptions(PairedOptions):
    """Options of `Denoising`. Each strength is a [low, high] range of its own kind; null is a usual range."""

    name: Literal["denoising"] = "denoising"
    kind: Literal["gaussian", "poisson", "jpeg"] = "gaussian"
    """What spoilt the pictures."""
    sigma: Annotated[tuple[_Sigma, _Sigma], AfterValidator(_ordered)] | None = None
    """Standard deviation of Gaussian noise where black is 0 and white is 1; null is [0.06, 0.2], levels 15 to 50 of 255."""
    photons: Annotated[tuple[_Photons, _Photons], AfterValidator(_ordered)] | None = None
    """Photons that a white pixel counts in each channel, fewer being noisier; null is [10, 60]."""
    quality: Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)] | None = None
    """Quality of the JPEG encoder, 1 to 95; null is [5, 30]."""

    @model_validator(mode="after")
    def _of_this_kind(self) -> DenoisingOptions:
        for kind, key in _STRENGTH.items():
            if kind != self.kind and getattr(self, key) is not None:
                own = _STRENGTH[self.kind]
                raise ValueError(f"{key} is the strength of kind {kind!r}, but kind is {self.kind!r}, whose strength is {own}")
        return self

    @property
    def strength(self) -> tuple[float, float]:
        """The range of this kind, in its own unit."""
        key = _STRENGTH[self.kind]
        return getattr(self, key) or _USUAL[key]


class Denoising(ResidualTask, PairedTask):
    """The condition is a noisy picture with the 256 levels of a file; the output is added to it."""

    Options = DenoisingOptions

    def degrade(self, images: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        spoil, (low, high) = _SPOIL[self.options.kind], self.options.strength
        # On the CPU: the generators are there, so every device gets the same noise.
        noisy = [
            spoil(image, low + (high - low) * float(torch.rand(1, generator=draw)), draw)
            for image, draw in zip(images.cpu(), draws, strict=True)
        ]
        return torch.stack(noisy).to(images.device)


def _gaussian(image: Tensor, sigma: float, draw: torch.Generator) -> Tensor:
    return as_file(image + 2 * sigma * torch.randn(image.shape, generator=draw))


def _poisson(image: Tensor, photons: float, draw: torch.Generator) -> Tensor:
    counts = torch.poisson((image + 1) / 2 * photons, generator=draw)
    return as_file(counts / photons * 2 - 1)


def _jpeg(image: Tensor, quality: float, draw: torch.Generator) -> Tensor:
    # Pillow's encoder: torchvision's is deprecated.
    buffer = io.BytesIO()
    Image.fromarray(to_levels(image).byte().permute(1, 2, 0).numpy()).save(buffer, format="JPEG", quality=round(quality))
    return from_levels(torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1))


_SPOIL: dict[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "gaussian": _gaussian,
    "poisson": _poisson,
    "jpeg": _jpeg,
}
