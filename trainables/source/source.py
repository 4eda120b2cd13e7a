"""What a source is once it is read, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS
from trainables.registry import Registry

GENERATOR, DISCRIMINATOR = "generator.", "discriminator."
"""What names of tensors begin with. After the second comes whose discriminator it is: the name of the trunk's backbone, or where
there is no trunk that of its kind, and a dot."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What networks a source holds, as far as it says so."""

    generator: dict[str, Any] | None = None
    """Options of an entry of `GENERATORS`, as JSON data; None where the file does not say."""
    discriminator: dict[str, Any] | None = None
    """Options of an entry of `DISCRIMINATORS`; None where the file holds none, or does not say."""
    resolution: int | None = None
    """Side of the pictures in pixels."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """All else that the file says of itself. What may be relied on where it is there: ``task`` (options) and ``backbone`` that
    the generator was made for, ``augment_p`` (ADA's probability when training ended), ``origin`` and ``licence`` of an import."""


@dataclass(frozen=True, kw_only=True)
class Source(Architecture):
    """Networks to start from."""

    tensors: dict[str, Tensor]
    """On the CPU, float32; named ``generator.<tensor>`` and ``discriminator.<backbone or kind>.<tensor>``."""

    @property
    def architecture(self) -> Architecture:
        """What it says of itself, without the tensors."""
        return Architecture(**{key: getattr(self, key) for key in Architecture.__dataclass_fields__})

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix``, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def described(data: Mapping[str, Any]) -> Architecture:
    """The architecture in JSON data with the keys ``generator``, ``discriminator`` and ``resolution``; all others are metadata.

    Options that say how a network was trained, such as what of it was frozen, are the next trial's to choose, and left out.

    Raises:
        ValueError: one of them is not of its kind. What is inside of options is not looked at.
    """
    known = {key: data.get(key) for key in ("generator", "discriminator", "resolution")}
    registries: dict[str, Registry[Any]] = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
    for key, registry in registries.items():
        options = known[key]
        if options is not None and not (isinstance(options, dict) and isinstance(options.get("name"), str)):
            raise ValueError(f"{key} must be the options of one of {', '.join(registry)}, but is {str(options)[:100]}")
        if options is not None:
            known[key] = _architecture(options, registry)
    if known["resolution"] is not None and type(known["resolution"]) is not int:
        raise ValueError(f"resolution must be a number of pixels, but is {str(known['resolution'])[:100]}")
    return Architecture(metadata={key: value for key, value in data.items() if key not in known}, **known)


def _architecture(options: Mapping[str, Any], registry: Registry[Any]) -> dict[str, Any]:
    """Options without those that say how a network was trained; of an ensemble, its members' too."""
    name = str(options.get("name"))
    training: frozenset[str] = getattr(registry[name].Options, "TRAINING", frozenset()) if name in registry else frozenset()
    found = {option: value for option, value in options.items() if option not in training}
    if isinstance(members := found.get("members"), list | tuple):
        found["members"] = [_architecture(m, registry) if isinstance(m, Mapping) else m for m in members]
    return found


def described_by_trial(config: Mapping[str, Any], discriminator: bool) -> Architecture:
    """As `described`, of a trial's configuration, in which ``augment_p`` is an option and nothing that the trial has found out.

    Args:
        discriminator: whether D is there too.
    """
    without = {"augment_p"} if discriminator else {"augment_p", "discriminator"}
    return described({key: value for key, value in config.items() if key not in without})
