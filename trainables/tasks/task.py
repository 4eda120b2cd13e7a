"""What a task is: how a real picture becomes G's input, and how G's output becomes a picture again.

A *condition* is G's input, [N, in_channels, H, W]; a *picture* is RGB, [N, 3, H, W] in [-1, 1]. Every method is a pure function
of its arguments, `degrade` of each sample's own random numbers too, and takes any H and W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from trainables.registry import Options
from trainables.tasks.ranges import bounded


class Task(ABC):
    """One application of a generator.

    Args:
        options: of the class's own ``Options``.
        resolution: side in pixels of the pictures that are trained on.
    """

    Options: ClassVar[type[Options]]
    DEFAULTS: ClassVar[Mapping[str, Any]]
    """The trial configuration that suits the task, as data under the keys of `TrialConfig`; what a user gives goes before it."""
    paired: ClassVar[bool]
    """Whether the picture that was degraded is the target of G's output."""
    in_channels: ClassVar[int]
    """Channels of the condition; 0 where G starts from noise."""
    out_channels: ClassVar[int] = 3
    """Channels of G's output."""
    reach: ClassVar[int | None] = 0
    """How many pixels around its own, of the picture given, a pixel of `inputs_from_picture` depends on; None: on all of them."""
    picture_mode: ClassVar[str] = "RGB"
    """Pillow's mode of the pictures that `inputs_from_picture` takes."""

    def __init__(self, options: Any, resolution: int) -> None:
        self.options = options
        self.resolution = resolution

    @property
    def condition_channels(self) -> int:
        """Channels that a conditional D sees beside the picture."""
        return self.in_channels

    @property
    def enlarges(self) -> int:
        """How many times the sides of a picture that `inputs_from_picture` takes those of the one made of it are."""
        return 1

    @abstractmethod
    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] → conditions [N, in_channels, H, W], on the same device, in [-1, 1].

        Args:
            keys: int64 [N] on the same device, one for each picture: its random numbers are a function of its key alone
                (`trainables.layers.keyed_noise`), so that the condition of a picture depends on no other one. Nothing is copied
                from the host or waited for, as this is part of a training step.
        """

    @abstractmethod
    def compose(self, condition: Tensor, output: Tensor) -> Tensor:
        """The picture [N, 3, H, W] in [-1, 1] that G's output [N, out_channels, H, W] means; differentiable in ``output``.

        For conditions that are pictures, an output of 0 gives `baseline`.
        """

    @abstractmethod
    def show(self, condition: Tensor) -> Tensor:
        """The condition as a picture, [N, 3, H, W] in [-1, 1], for previews. ValueError where G starts from noise."""

    @abstractmethod
    def baseline(self, condition: Tensor) -> Tensor:
        """What one would do without a network, [N, 3, H, W] in [-1, 1]. ValueError where G starts from noise."""

    @abstractmethod
    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        """The condition that a user's own degraded picture is.

        Args:
            picture: [N, channels of `picture_mode`, H, W] in [-1, 1], any H and W.

        Raises:
            ValueError: another number of channels, or nothing in it to do.
        """


class ResidualTask(Task):
    """A task whose condition is a picture, to which G's output is added: untrained, G leaves the picture as it is."""

    in_channels = 3

    def compose(self, condition: Tensor, output: Tensor) -> Tensor:
        return bounded(condition + output)

    def show(self, condition: Tensor) -> Tensor:
        return condition

    def baseline(self, condition: Tensor) -> Tensor:
        """The condition."""
        return condition

    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        """The picture as it is."""
        return batch_of(picture)


class PairedOptions(Options):
    """Options of every paired task."""

    held_out: float = Field(0.2, gt=0, lt=1)
    """Share of the pictures that no trial trains on and by which all trials are evaluated (`held_out.split`)."""


class PairedTask(Task):
    """A task that restores pictures: each degraded picture is the target, and trials are compared by PSNR."""

    Options = PairedOptions
    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "generator": {"name": "encoder_decoder"},
        "discriminator": {"name": "patch", "conditional": True},
        "reconstruction": {"name": "l1", "weight": 100},  # pix2pix, Isola et al. 2017, section 3.3
        "feature_loss": {"form": "paired"},
        "optimizer": {"beta1": 0.9},  # most of what G learns is to restore; measured in docs/experiments.md
        "augment": [],  # it is against D's overfitting to few pictures, and here the target guides G, not D
        "evaluation": {"metric": "psnr[n=64]"},
    }
    paired = True


def batch_of(pictures: Tensor, mode: str = "RGB") -> Tensor:
    """``pictures`` as they are. ValueError unless they are [N, channels of ``mode``, H, W]."""
    channels = len(mode)
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise ValueError(f"pictures must be {mode}, [N, {channels}, H, W], but got {list(pictures.shape)}")
    return pictures
