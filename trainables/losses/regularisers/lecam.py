"""LeCam regularisation for little data (Tseng et al. 2021): D's predictions stay near moving averages of the other side.

As in the paper, without the ReLU that its published code adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.precision import in_float32
from trainables.losses.regularisers.base import Regulariser, WeightedOptions


class LecamOptions(WeightedOptions):
    """Options of `Lecam`."""

    name: Literal["lecam"] = "lecam"
    weight: float = Field(0.3, ge=0, allow_inf_nan=False)
    """λ of the paper, whose code takes 0.3 for BigGAN on CIFAR, with the hinge loss."""
    decay: float = Field(0.99, ge=0, lt=1)
    """γ of the paper: how much of the averages is kept each time."""


class Lecam(Regulariser[DiscriminatorStep]):
    """E (D(x) - α_F)² + E (D(G(z)) - α_R)², averaged over D's heads; of an ensemble, added up over its members.

    α_R and α_F, one for each head, are moving averages over steps of D's mean logit of real and of generated images, the present
    step's included; they start at the first step's.
    """

    Options = LecamOptions
    own_graph = False
    real_average: Tensor
    fake_average: Tensor

    def __init__(self, options: LecamOptions) -> None:
        super().__init__(options)
        # Empty until the first step says how many heads there are.
        self.register_buffer("real_average", torch.empty(0))
        self.register_buffer("fake_average", torch.empty(0))

    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        self.real_average = self._moved(self.real_average, step.real_logits, collective)
        self.fake_average = self._moved(self.fake_average, step.fake_logits, collective)
        return step.balance.total(_distance, step.real_logits, step.fake_logits, self.real_average, self.fake_average)

    def _moved(self, average: Tensor, logits: list[Tensor], collective: Collective) -> Tensor:
        mean = collective.mean(torch.stack([in_float32(x.detach()).mean() for x in logits]))
        return torch.lerp(mean, average.to(mean), self.options.decay) if len(average) else mean

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        for name in ("real_average", "fake_average"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _distance(real: Sequence[Tensor], fake: Sequence[Tensor], real_averages: Tensor, fake_averages: Tensor) -> Tensor:
    terms = [
        (in_float32(x) - fake_average).square().mean() + (in_float32(y) - real_average).square().mean()
        for x, y, real_average, fake_average in zip(real, fake, real_averages, fake_averages, strict=True)
    ]
    return torch.stack(terms).mean()
