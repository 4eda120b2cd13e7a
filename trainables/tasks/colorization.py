"""Colorization in CIE L*a*b* (Zhang et al. 2016): G sees the lightness L* and gives a* and b*.

The search is driven by PSNR on RGB: as L* is given, what differs between trials is the colour alone, and unlike an error in a* b*
it is measured on the picture that is shown, after the gamut's clipping. Like every mean error it favours muted colours where a
picture could have several; the adversarial and the feature loss work against that.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainables.tasks.lab import lab_from_srgb, srgb_from_lab
from trainables.tasks.ranges import bounded
from trainables.tasks.task import PairedOptions, PairedTask, batch_of

_AB_REACH = 110.0  # sRGB's gamut is inside |a*| < 99, |b*| < 108


class ColorizationOptions(PairedOptions):
    """Options of `Colorization`."""

    name: Literal["colorization"] = "colorization"


class Colorization(PairedTask):
    """The condition is L* / 50 - 1, in [-1, 1]; a* and b* are 110 tanh(output), so that an output of 0 is grey."""

    Options = ColorizationOptions
    in_channels = 1
    out_channels = 2

    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        return self.inputs_from_picture(images)

    def compose(self, condition: Tensor, output: Tensor) -> Tensor:
        """Colours outside sRGB's gamut are clipped channel by channel, which changes their lightness a little."""
        lab = torch.cat([(condition + 1) * 50, _AB_REACH * torch.tanh(output)], dim=1)
        return bounded(srgb_from_lab(lab) * 2 - 1)

    def show(self, condition: Tensor) -> Tensor:
        return self.baseline(condition)

    def baseline(self, condition: Tensor) -> Tensor:
        """The grey picture of the same lightness."""
        return self.compose(condition, torch.zeros_like(condition).expand(-1, 2, -1, -1))

    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        """The lightness of any RGB picture, grey or not."""
        return lab_from_srgb((batch_of(picture) + 1) / 2)[:, :1] / 50 - 1
