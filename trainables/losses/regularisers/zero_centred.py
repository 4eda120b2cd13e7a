"""R1 and R2: zero-centred gradient penalties on real and on generated images (Mescheder et al. 2018, section 4.1).

In the papers' unit: what is added to D's loss is γ/2 · E ||∇D(x)||², where D(x) is the sum of a sample's logits over positions
and heads and x is in [-1, 1]. So a γ of the StyleGANs, whose D has one logit, can be taken as it is. One thing differs: x is the
image as D sees it, augmented, where the StyleGANs' code takes the gradient in the image before that; with much of ADA theirs is
a few times as strong. What γ is to be depends on resolution and batch size, by StyleGAN2-ADA's heuristic 0.0002 · resolution² /
batch size. Each member of an ensemble has a penalty of its own, all with one γ; but where any has no pretrained network, those
alone do, as in vision-aided GAN (Kumari et al. 2022): the sum over the hundreds of logits of a pretrained member would be
flattened by a γ that is for one.

They, like `gradient_penalty`, need D's second derivative, which torch lacks for hard-sigmoid and hard-swish: not on a trunk such
as MobileNetV3.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.regularisers.base import Regulariser, RegulariserOptions
from trainables.losses.regularisers.gradients import of_gradient, summed

_HEURISTIC = 0.0002  # γ · batch size / resolution², of StyleGAN2-ADA (Karras et al. 2020)


class ZeroCentredOptions(RegulariserOptions):
    """Options of `R1` and `R2`."""

    gamma: float | None = Field(None, ge=0, allow_inf_nan=False)
    """γ of the papers, who add γ/2 · E ||∇D||²; None takes StyleGAN2-ADA's 0.0002 · resolution² / batch size."""
    gamma_multiple: float = Field(1.0, ge=0, allow_inf_nan=False)
    """How many times that is taken: what to search, as it means the same at any resolution and batch size."""
    every: int = Field(16, ge=1)
    """It is added every so many steps, times as much; StyleGAN2 takes 16 for R1."""

    @model_validator(mode="after")
    def _one_of_two(self) -> ZeroCentredOptions:
        if self.gamma is not None and self.gamma_multiple != 1:
            raise ValueError(f"gamma_multiple is for where gamma is not given, but got {self.gamma_multiple} beside {self.gamma}")
        return self


class ZeroCentred(Regulariser[DiscriminatorStep]):
    """What `R1` and `R2` have in common."""

    def strength(self, step: DiscriminatorStep) -> float:
        """γ/2."""
        options: ZeroCentredOptions = self.options
        gamma = options.gamma
        if gamma is None:
            height, width = step.real.shape[-2:]
            gamma = options.gamma_multiple * _HEURISTIC * height * width / step.batch_size
        return gamma / 2


class R1Options(ZeroCentredOptions):
    """Options of `R1`."""

    name: Literal["r1"] = "r1"


class R1(ZeroCentred):
    """γ/2 · E ||∇D(x)||² over real x."""

    Options = R1Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return of_gradient(step, step.real, summed, _mean_square, step.balance.of_own)


class R2Options(ZeroCentredOptions):
    """Options of `R2`."""

    name: Literal["r2"] = "r2"


class R2(ZeroCentred):
    """γ/2 · E ||∇D(G(z))||² over generated images."""

    Options = R2Options

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        return of_gradient(step, step.fake, summed, _mean_square, step.balance.of_own)


def _mean_square(gradient: Tensor) -> Tensor:
    return gradient.square().sum(1).mean()
