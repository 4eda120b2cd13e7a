"""What the regularisers of D have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.registry import Options


class RegulariserOptions(Options):
    """Options that every regulariser has."""

    every: int = Field(1, ge=1)
    """It is added every so many steps, times as much (lazy regularisation, Karras et al. 2020): as strong, and cheaper."""


class WeightedOptions(RegulariserOptions):
    """Options of a regulariser that is weighed by one number."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """What the regulariser is multiplied by in D's loss."""


class Regulariser(nn.Module, ABC):
    """A term of D's loss beside the adversarial one. What changes from step to step is kept in buffers."""

    Options: ClassVar[type[Any]]
    needs_initial: ClassVar[bool] = False
    """Whether it looks at `DiscriminatorStep.initial`."""
    needs_trunk: ClassVar[bool] = False
    """Whether it looks at `DiscriminatorStep.features` and `DiscriminatorStep.initial_features`."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def forward(self, step: DiscriminatorStep, collective: Collective) -> Tensor:
        """The unweighted scalar of this worker's share; its mean over the workers is the value of the global batch."""

    def strength(self, step: DiscriminatorStep) -> float:
        """What that is multiplied by in D's loss, but for ``every``."""
        return float(self.options.weight)
