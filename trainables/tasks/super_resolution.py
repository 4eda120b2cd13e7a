"""Super-resolution ×2 or ×4, "pre-upsampled" (Dong et al. 2014, SRCNN): G sees the bicubic enlargement and adds what is missing.

So input and output have one size: any trunk serves as encoder, any generator from pictures to pictures fits both scales, and one
network takes pictures of every size. Upsampling at the end of G would be cheaper (Shi et al. 2016, ESPCN), but trunks halve their
input five times and have little left of a small picture.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from trainables.tasks.photographs import spoilt
from trainables.tasks.ranges import as_file
from trainables.tasks.task import PairedOptions, PairedTask, ResidualTask, batch_of


class SuperResolutionOptions(PairedOptions):
    """Options of `SuperResolution`."""

    name: Literal["super_resolution"] = "super_resolution"
    scale: Literal[2, 4] = 2
    """How many times as wide and high the output is as the picture that is enlarged."""
    degradation: Literal["bicubic", "photographs"] = "bicubic"
    """What the small pictures have been through: shrinking alone, or blur, resampling, noise and JPEG after it."""
    shuffled: bool = False
    """For photographs: whether the four happen in a random order, else in this one."""

    @model_validator(mode="after")
    def _of_photographs(self) -> SuperResolutionOptions:
        if self.shuffled and self.degradation != "photographs":
            raise ValueError(f"shuffled is for degradation 'photographs', but degradation is {self.degradation!r}")
        return self


class SuperResolution(ResidualTask, PairedTask):
    """The condition is a low-resolution 8-bit picture, enlarged; the output is added to it."""

    Options = SuperResolutionOptions
    reach = 3  # of the cubic kernel

    @property
    def enlarges(self) -> int:
        return int(self.options.scale)

    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = as_file(self._shrink(images))
        if self.options.degradation == "photographs":
            small = spoilt(small, keys, self.options.shuffled)
        return self.inputs_from_picture(small)[..., :height, :width]

    def show(self, condition: Tensor) -> Tensor:
        """The low-resolution pixels as blocks, read back from the enlargement by shrinking it (equal up to a slight blur)."""
        height, width = condition.shape[-2:]
        blocks = F.interpolate(self._shrink(condition), scale_factor=float(self.options.scale), mode="nearest")
        return blocks.clamp(-1, 1)[..., :height, :width]

    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        """A low-resolution picture [N, 3, h, w] → its bicubic enlargement [N, 3, scale·h, scale·w]."""
        return _bicubic(batch_of(picture), float(self.options.scale)).clamp(-1, 1)

    def _shrink(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, 3, ⌈H / scale⌉, ⌈W / scale⌉] on a grid whose pixels are exactly ``scale`` wide."""
        scale = self.options.scale
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % scale, 0, -height % scale), mode="replicate")
        return _bicubic(padded, 1 / scale)


def _bicubic(images: Tensor, factor: float) -> Tensor:
    # With `antialias` torch uses Keys' kernel, a = -0.5, as Pillow and MATLAB do; without it, enlarging too, a = -0.75.
    return F.interpolate(images, scale_factor=factor, mode="bicubic", antialias=True)
