"""L2-SP (Li et al. 2018): parameters stay near their starting point, the pretrained values."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.generator_step import GeneratorStep
from trainables.losses.regularisers.base import Regulariser, WeightedOptions


class L2SPOptions(WeightedOptions):
    """Options of `L2SP`."""

    name: Literal["l2_sp"] = "l2_sp"
    weight: float = Field(0.01, ge=0, allow_inf_nan=False)
    """α of the paper, which searched it by powers of ten."""


class L2SP(Regulariser[DiscriminatorStep | GeneratorStep]):
    """½ ||w - w⁰||² over all trained parameters of D, trunk and heads, or of G; as kept, before any scale of run time."""

    Options = L2SPOptions
    needs_initial = True

    def forward(self, step: DiscriminatorStep | GeneratorStep, collective: Collective) -> Tensor:
        assert step.initial is not None
        return torch.stack([(p - step.initial[name]).square().sum() for name, p in step.trained]).sum() / 2
