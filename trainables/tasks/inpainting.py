"""Inpainting: what is missing is made, what is known stays exactly as it is.

G sees the picture with its holes filled smoothly, and the mask; in the holes its output is added to that filling. So G starts
from the mean of the surroundings, not from a constant that it must first learn to remove.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from trainables.registry import names_of
from trainables.tasks.filling import fill_missing
from trainables.tasks.masks import MASKS, random_masks
from trainables.tasks.ranges import bounded
from trainables.tasks.task import PairedOptions, PairedTask, batch_of

if TYPE_CHECKING:
    MaskName: TypeAlias = str
else:
    MaskName = names_of(MASKS)


class InpaintingOptions(PairedOptions):
    """Options of `Inpainting`."""

    name: Literal["inpainting"] = "inpainting"
    mask: MaskName = "free_form"
    """Form of the holes: "boxes" or "free_form" strokes."""
    share: float = Field(0.25, gt=0, le=0.75)
    """Share of a picture's area that is missing at least; shapes are added until it is reached."""


class Inpainting(PairedTask):
    """The condition is the filled picture and, as fourth channel, the mask: 1 where a pixel is missing, else 0."""

    Options = InpaintingOptions
    in_channels = 4
    picture_mode = "RGBA"
    reach = None  # the middle of a large hole is filled from afar

    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return _condition(images, random_masks(self.options.mask, self.options.share, height, width, keys)[:, None])

    def compose(self, condition: Tensor, output: Tensor) -> Tensor:
        filled, missing = _parts(condition)
        return torch.where(missing, bounded(filled + output), filled)

    def show(self, condition: Tensor) -> Tensor:
        """The known pixels, the missing ones grey."""
        filled, missing = _parts(condition)
        return filled.masked_fill(missing, 0.0)

    def baseline(self, condition: Tensor) -> Tensor:
        """The holes filled by the mean of what is known around them."""
        return _parts(condition)[0]

    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        """RGBA [N, 4, H, W] in [-1, 1]: a pixel is missing where it is less than half opaque, alpha < 0.

        Raises:
            ValueError: not RGBA, or a picture of which nothing is missing or nothing is known.
        """
        missing = batch_of(picture, "RGBA")[:, 3:] < 0
        share = missing.float().mean(dim=(1, 2, 3))
        if bool(((share == 0) | (share == 1)).any()):
            raise ValueError(
                "inpainting needs pictures with transparent pixels, which are made, and opaque ones, which are kept, "
                f"but the transparent shares are {[round(x, 3) for x in share.tolist()]}"
            )
        return _condition(picture[:, :3], missing)


def _condition(images: Tensor, missing: Tensor) -> Tensor:
    return torch.cat([fill_missing(images, missing), missing.to(images)], dim=1)


def _parts(condition: Tensor) -> tuple[Tensor, Tensor]:
    return condition[:, :3], condition[:, 3:] > 0.5
