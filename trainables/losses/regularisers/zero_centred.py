"""R1 and R2: zero-centred gradient penalties on real and on generated images (Mescheder et al. 2018, section 4.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.regularisers.base import Regulariser, RegulariserOptions
from trainables.losses.regularisers.gradients import input_gradient


class R1Options(RegulariserOptions):
    """Options of `R1`. The weight is γ/2 of the papers."""

    name: Literal["r1"] = "r1"
    every: int = Field(16, ge=1)
    """It is added every so many steps, times as much; StyleGAN2 takes 16."""


class R1(Regulariser):
    """E ||∇D(x)||² over real x."""

    Options = R1Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return input_gradient(step.logits, step.real).square().sum(1).mean()


class R2Options(RegulariserOptions):
    """Options of `R2`. The weight is γ/2 of the papers."""

    name: Literal["r2"] = "r2"
    every: int = Field(16, ge=1)
    """It is added every so many steps, times as much; StyleGAN2 takes 16 for R1."""


class R2(Regulariser):
    """E ||∇D(G(z))||² over generated images."""

    Options = R2Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return input_gradient(step.logits, step.fake).square().sum(1).mean()
