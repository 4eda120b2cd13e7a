"""What the regularisers of D and of G have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import Field
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.registry import Options

Step = TypeVar("Step", contravariant=True)
"""What it may look at: a `DiscriminatorStep` or a `GeneratorStep`."""


class RegulariserOptions(Options):
    """Options that every regulariser has."""

    every: int = Field(1, ge=1)
    """It is added every so many steps, times as much (lazy regularisation, Karras et al. 2020): as strong, and cheaper."""


class WeightedOptions(RegulariserOptions):
    """Options of a regulariser that is weighed by one number."""

    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    """What the regulariser is multiplied by in the loss of its network."""


class Regulariser(nn.Module, ABC, Generic[Step]):
    """A term of D's or G's loss beside the adversarial one. What changes from step to step is kept in buffers."""

    Options: ClassVar[type[Any]]
    needs_initial: ClassVar[bool] = False
    """Whether it looks at the step's ``initial``."""
    needs_start: ClassVar[bool] = False
    """Whether it looks at the step's ``features`` and ``initial_features``."""
    own_graph: ClassVar[bool] = True
    """Whether it runs all that it looks at itself, and so goes backward apart, in less memory. Not if it looks at logits."""
    needs_trunk: ClassVar[bool] = False
    """Whether D must be made of a pretrained network that it tunes."""
    needs_styles: ClassVar[bool] = False
    """Whether G must be made of styles."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def forward(self, step: Step, collective: Collective) -> Tensor:
        """The unweighted scalar of this worker's share; its mean over the workers is the value of the global batch."""

    def strength(self, step: Step) -> float:
        """What that is multiplied by in the loss, but for ``every``."""
        return float(self.options.weight)
