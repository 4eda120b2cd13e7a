"""What of a pretrained generator is trained: all of it, or a small part that cannot forget much. A new way is a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field
from torch import nn

from trainables.layers.adapters import Adaptable, Adapter, ChannelScale, KernelModulation, LowRank, is_adapter
from trainables.registry import Options, Registry


@dataclass(frozen=True)
class Adaptation:
    """One way to fine-tune a style-based generator."""

    trains: Callable[[str], bool]
    """Whether the parameter of this name is trained; a miner always is."""
    adapter: type[Adapter] | None = None
    """What is put beside each of its modulated layers."""


def _is_bias_of_a_layer(name: str) -> bool:
    return name.startswith("synthesis.") and name.endswith(".bias") and ".affine." not in name


ADAPTATIONS: Registry[Adaptation] = Registry(
    "adaptation",
    {
        "full": Adaptation(lambda name: True),
        "affine": Adaptation(lambda name: ".affine." in name),
        "scale_shift": Adaptation(lambda name: is_adapter(name) or _is_bias_of_a_layer(name), ChannelScale),
        "lora": Adaptation(is_adapter, LowRank),
        "kernel_modulation": Adaptation(is_adapter, KernelModulation),
    },
)


class FrozenOptions(Options):
    """Parts of a generator that keep the parameters they start with."""

    mapping: bool = False
    """The mapping network."""
    constant: bool = False
    """What the first block starts from."""
    below: int = Field(0, ge=0)
    """Blocks of a lower resolution than this, in pixels."""


def adapt(generator: nn.Module, way: str, rank: int, frozen: Callable[[str], bool]) -> None:
    """Puts adapters into ``generator`` and leaves ``requires_grad`` to what is trained.

    Args:
        way: an entry of `ADAPTATIONS`.
        rank: of adapters that have one.
        frozen: whether the parameter of this name is not to be trained in any case.
    """
    adaptation = ADAPTATIONS[way]
    if adaptation.adapter is not None:
        for module in list(generator.modules()):
            if isinstance(module, Adaptable):
                module.adapt(adaptation.adapter, rank)
    for name, parameter in generator.named_parameters():
        trained = name.startswith("miner.") or adaptation.trains(name)
        parameter.requires_grad_(trained and not frozen(name))
