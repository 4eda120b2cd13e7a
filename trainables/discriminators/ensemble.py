"""Several discriminators beside each other (vision-aided GAN, Kumari et al. 2022): a pretrained one beside one from scratch.

Each has a trunk of its own where it has one. All heads together make the list of logits; the members' losses are added.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, model_validator
from torch import Tensor, nn

from trainables.balance import Balance
from trainables.discriminators.discriminator import Discriminator, Problem, Trunk
from trainables.discriminators.patch import PatchDiscriminator
from trainables.discriminators.projected import ProjectedDiscriminator
from trainables.discriminators.stylegan2 import StyleGan2Discriminator
from trainables.discriminators.trunk import TrunkDiscriminator
from trainables.registry import Options, Registry, options_union

MEMBERS: Registry[Any] = Registry(
    "discriminator",
    {
        "trunk": TrunkDiscriminator,
        "projected": ProjectedDiscriminator,
        "patch": PatchDiscriminator,
        "stylegan2": StyleGan2Discriminator,
    },
)

if TYPE_CHECKING:  # the members of this type are the registry's entries, which only run time knows
    MemberOptions: TypeAlias = Any
else:
    MemberOptions = options_union(MEMBERS)


class EnsembleOptions(Options):
    """Options of `EnsembleDiscriminator`."""

    name: Literal["ensemble"] = "ensemble"
    members: tuple[MemberOptions, ...] = Field((PatchDiscriminator.Options(), ProjectedDiscriminator.Options()), min_length=2)
    """The discriminators, each with options of its own."""
    weights: tuple[float, ...] | None = None
    """What each member's adversarial loss and penalties are multiplied by before they are added, for D and for G; None gives each
    1, as in the paper, so that two members pull at G twice as much as one."""

    @model_validator(mode="after")
    def _a_weight_for_each(self) -> EnsembleOptions:
        if self.weights is not None:
            if len(self.weights) != len(self.members):
                raise ValueError(f"weights must be as many as members, {len(self.members)}, but got {len(self.weights)}")
            if not all(0 < weight < math.inf for weight in self.weights):
                raise ValueError(f"weights must be finite and > 0, but got {self.weights}")
        return self

    @property
    def group(self) -> int:
        """`Discriminator.group` of these options."""
        return math.lcm(*(getattr(member, "group", 1) for member in self.members))

    @property
    def conditional(self) -> bool:
        """Whether any member sees the condition."""
        return any(member.conditional for member in self.members)


class EnsembleDiscriminator(Discriminator):
    """The members' logits, one after the other.

    Raises:
        ValueError: a member's.
    """

    Options = EnsembleOptions

    def __init__(self, options: EnsembleOptions, trunk: Trunk, condition_channels: int = 0, resolution: int = 0) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            MEMBERS[member.name](member, trunk, condition_channels, resolution) for member in options.members
        )
        heads = [int(member.head_count) for member in self.members]  # type: ignore[arg-type]
        self.head_count, self.balance = (
            sum(heads),
            Balance(heads, options.weights or (1.0,) * len(heads), [bool(member.trunkless) for member in self.members]),
        )
        self.group = math.lcm(*(member.group for member in self.members))  # type: ignore[arg-type]

    def forward(self, images: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        return [logits for member in self.members for logits in member(images, condition)]

    def features(self, images: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Each member's, under its index: ``0.blocks.4``."""
        return {
            f"{index}.{layer}": x
            for index, member in enumerate(self.members)
            for layer, x in member.features(images, condition).items()  # type: ignore[operator]
        }

    @classmethod
    def trains_features(cls, options: EnsembleOptions, info: Any, resolution: int) -> bool:
        return any(MEMBERS[member.name].trains_features(member, info, resolution) for member in options.members)

    @classmethod
    def unfit(cls, options: EnsembleOptions, info: Any, resolution: int, condition_channels: int = 0) -> list[Problem]:
        return [
            (f"members.{index}.{key}", message)
            for index, member in enumerate(options.members)
            for key, message in MEMBERS[member.name].unfit(member, info, resolution, condition_channels)
        ]
