"""R1 and R2: zero-centred gradient penalties on real and on generated images (Mescheder et al. 2018, section 4.1).

They, like `gradient_penalty`, need D's second derivative, which torch lacks for hard-sigmoid and hard-swish: not on a trunk such
as MobileNetV3.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.regularisers.base import Regulariser, RegulariserOptions
from trainables.losses.regularisers.gradients import input_gradient


class ZeroCentredOptions(RegulariserOptions):
    """Options of `R1` and `R2`. The weight is γ/2 of the papers."""

    every: int = Field(16, ge=1)
    """It is added every so many steps, times as much; StyleGAN2 takes 16 for R1."""


class R1Options(ZeroCentredOptions):
    """Options of `R1`."""

    name: Literal["r1"] = "r1"


class R1(Regulariser):
    """E ||∇D(x)||² over real x."""

    Options = R1Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return input_gradient(step.logits, step.real).square().sum(1).mean()


class R2Options(ZeroCentredOptions):
    """Options of `R2`."""

    name: Literal["r2"] = "r2"


class R2(Regulariser):
    """E ||∇D(G(z))||² over generated images."""

    Options = R2Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return input_gradient(step.logits, step.fake).square().sum(1).mean()
