"""Denoising: Gaussian noise, photon counts, the artefacts of JPEG, or all that photographs have. G adds a correction to them.

Strengths are drawn for each picture, so that one network takes a range of them (blind denoising, Zhang et al. 2017, DnCNN-B).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from trainables.layers.keyed_noise import keyed_normal, keyed_uniform
from trainables.tasks.jpeg import jpeg
from trainables.tasks.photographs import spoilt
from trainables.tasks.photons import photon_counts
from trainables.tasks.ranges import as_file
from trainables.tasks.task import PairedOptions, PairedTask, ResidualTask

_STRENGTHS, _NOISE = 0, 1  # purposes of a picture's random numbers


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
    kind: Literal["gaussian", "poisson", "jpeg", "photographs"] = "gaussian"
    """What spoilt the pictures; "photographs" is blur, resampling, noise and JPEG, as pictures from the web have them."""
    shuffled: bool = False
    """For photographs: whether the four happen in a random order, else in this one."""
    sigma: Annotated[tuple[_Sigma, _Sigma], AfterValidator(_ordered)] | None = None
    """Standard deviation of Gaussian noise where black is 0 and white is 1; null is [0.06, 0.2], levels 15 to 50 of 255."""
    photons: Annotated[tuple[_Photons, _Photons], AfterValidator(_ordered)] | None = None
    """Photons that a white pixel counts in each channel, fewer being noisier; null is [10, 60]."""
    quality: Annotated[tuple[_Quality, _Quality], AfterValidator(_ordered)] | None = None
    """Quality of the JPEG encoder, 1 to 95; null is [5, 30]."""

    @model_validator(mode="after")
    def _of_this_kind(self) -> DenoisingOptions:
        if self.shuffled and self.kind != "photographs":
            raise ValueError(f"shuffled is for kind 'photographs', but kind is {self.kind!r}")
        for kind, key in _STRENGTH.items():
            if kind != self.kind and getattr(self, key) is not None:
                own = f"whose strength is {_STRENGTH[self.kind]}" if self.kind in _STRENGTH else "whose strengths are fixed"
                raise ValueError(f"{key} is the strength of kind {kind!r}, but kind is {self.kind!r}, {own}")
        return self

    @property
    def strength(self) -> tuple[float, float]:
        """The range of this kind, in its own unit. KeyError for photographs, which have several."""
        key = _STRENGTH[self.kind]
        return getattr(self, key) or _USUAL[key]


class Denoising(ResidualTask, PairedTask):
    """The condition is a noisy picture with the 256 levels of a file; the output is added to it."""

    Options = DenoisingOptions

    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        if self.options.kind == "photographs":
            return spoilt(images, keys, self.options.shuffled)
        low, high = self.options.strength
        strength = low + (high - low) * keyed_uniform(keys, _STRENGTHS, 1)[:, 0].float()
        return _SPOIL[self.options.kind](images, strength, keys)


def _gaussian(images: Tensor, sigma: Tensor, keys: Tensor) -> Tensor:
    noise = keyed_normal(keys, _NOISE, images[0].numel()).view(images.shape)
    return as_file(images + 2 * sigma.view(-1, 1, 1, 1) * noise)


def _poisson(images: Tensor, photons: Tensor, keys: Tensor) -> Tensor:
    return as_file(photon_counts(images, photons, keys, _NOISE) / photons.view(-1, 1, 1, 1) * 2 - 1)


def _jpeg(images: Tensor, quality: Tensor, keys: Tensor) -> Tensor:
    return jpeg(images, quality.round())


_SPOIL: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"gaussian": _gaussian, "poisson": _poisson, "jpeg": _jpeg}
"""(pictures [N, 3, H, W], strengths [N], keys [N]) → spoilt pictures."""
