"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017, eq. 3): D's gradient is to have norm 1 between real and fake."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.regularisers.base import Regulariser, WeightedOptions
from trainables.losses.regularisers.gradients import averaged, of_gradient


class GradientPenaltyOptions(WeightedOptions):
    """Options of `GradientPenalty`."""

    name: Literal["gradient_penalty"] = "gradient_penalty"
    weight: float = Field(10.0, ge=0, allow_inf_nan=False)
    """λ of the paper, whose value is 10."""


class GradientPenalty(Regulariser[DiscriminatorStep]):
    """E (||∇D(x̂)|| - 1)², x̂ = ε x + (1 - ε) G(z), ε uniform for each pair of images."""

    Options = GradientPenaltyOptions

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        between = torch.lerp(step.fake, step.real, step.mix.to(step.real).view(-1, 1, 1, 1))
        # vector_norm, unlike a square root, has a gradient (0) where D is flat.
        return of_gradient(step, between, averaged, lambda x: (torch.linalg.vector_norm(x, dim=1) - 1).square().mean())
