"""What every discriminator is: images, and the picture they answer, → logits at every position, by one or more heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from trainables.balance import NO_ENSEMBLE, Balance

Trunk = Callable[[int], Any]
"""Gives a fresh unfrozen `trainables.backbones.Backbone` that takes images of so many channels."""
Problem = tuple[str, str]
"""The option at fault, as a dotted key beneath ``discriminator``, and what is wrong with it."""


class Discriminator(nn.Module):
    """Base of the entries of `DISCRIMINATORS`, built as ``DISCRIMINATORS[name](options, trunk, condition_channels, resolution)``.

    No logit depends on which samples share a batch, but for ``group`` consecutive ones. A pretrained trunk, where there is one,
    is the attribute ``backbone``.
    """

    Options: Any
    trunkless: ClassVar[bool] = False
    """Whether it is never made of a pretrained network: a source then names its tensors by its kind."""
    group: int = 1
    """How many consecutive samples are judged together; a batch, and every worker's share of it, is a multiple."""
    head_count: int = 1
    """How many maps of logits there are."""
    balance: Balance = NO_ENSEMBLE
    """How much each of them counts."""

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Logits, positive for real: one [N, 1, h, w] map for each head.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            condition: [N, C, H, W], what G was given for each image; ignored unless the options say ``conditional``.
        """
        raise NotImplementedError

    def features(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """The [N, C, h, w] features that the heads read, by layer; empty without pretrained ones that are trained.

        Arguments as for `forward`.
        """
        return {}

    @classmethod
    def trains_features(cls, options: Any, info: Any, resolution: int) -> bool:
        """Whether training changes anything of what `features` gives; arguments as for `unfit`."""
        return False

    @classmethod
    def unfit(cls, options: Any, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        """All that these options cannot do with a trunk (`BackboneInfo`), a resolution in pixels and a condition; [] if fit."""
        raise NotImplementedError


def in_trunk(name: str) -> bool:
    """Whether a tensor of a discriminator's state belongs to a pretrained trunk, its own or that of a member.

    >>> in_trunk("members.0.backbone.stages.1.weight"), in_trunk("heads.0.layers.0.bias")
    (True, False)
    """
    return "backbone" in name.split(".")


def size_problems(info: Any, input_px: int | None, resolution: int) -> list[Problem]:
    """What is wrong with the side of the images that a trunk reads to its last stage, for `Discriminator.unfit`."""
    side = input_px or resolution
    if side >= 2 * info.layers[-1].stride:
        return []  # surely large enough; to know it exactly the network must be built, which takes seconds
    smallest = info.smallest_sides[-1]
    return [] if side >= smallest else [("input_px", f"must be >= {smallest} for {info.name}, but images come with {side}")]


def raise_if(problems: list[Problem]) -> None:
    """One `ValueError` that says all problems."""
    if problems:
        raise ValueError("; ".join(f"{key} {message}" for key, message in problems))
