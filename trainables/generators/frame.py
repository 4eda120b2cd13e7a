"""What a generator is built for: the size and channels of what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Trunk: TypeAlias = Callable[[int], Any]
"""Gives a fresh unfrozen `trainables.backbones.Backbone` that takes images of that many channels."""


@dataclass(frozen=True)
class Frame:
    """Shapes at a generator's two ends."""

    resolution: int
    """Side in pixels of the square images of training."""
    in_channels: int = 0
    """Channels of the images that go in; 0 for a generator that makes images from noise."""
    out_channels: int = 3
    """Channels of the images that come out."""


def power_of_two_problem(generator: str, resolution: int, smallest: int) -> str | None:
    """The message for a resolution that is no power of two or less than ``smallest``; None when it fits."""
    fits = resolution >= smallest and resolution.bit_count() == 1
    return None if fits else f"the resolution of {generator} must be a power of two >= {smallest}, but got {resolution}"


def noise_problem(generator: str, frame: Frame) -> str | None:
    """The message for a noise generator in an image-to-image task; None when it fits."""
    if frame.in_channels == 0:
        return None
    return f"{generator} makes images from noise, but the task gives it images of {frame.in_channels} channels"


def image_problem(generator: str, frame: Frame) -> str | None:
    """The message for an image-to-image generator in a task that starts from noise; None when it fits."""
    return None if frame.in_channels else f"{generator} turns images into images, but the task gives it noise"
