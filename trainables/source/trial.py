"""Checkpoints of trials as sources: the averaged generator and, of a full checkpoint, the discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.discriminators import DISCRIMINATORS
from trainables.layers.adapters import merged
from trainables.source.places import check_held
from trainables.source.source import DISCRIMINATOR, GENERATOR, Source, described_by_trial
from trainables.storage import Storage

SUFFIX = ".pt"


def read(file: Path) -> Source:
    """A ``checkpoint_*.pt`` or ``best.pt``.

    Raises:
        ValueError: it is damaged or none.
    """
    try:
        content = Storage(file.parent).load(file.name)
        state = content.get("trainer", content)
        found = described_by_trial(content.get("config", {}), "discriminator" in state)
        if "p" in state.get("adaptive", {}):
            found.metadata["augment_p"] = float(state["adaptive"]["p"])
        check_held(state["ema"] | state.get("discriminator", {}), file)
        generator, discriminator, backbone = merged(state["ema"]), state.get("discriminator", {}), state.get("backbone")
        owner = _owners(found.discriminator or {}, str(backbone))
        tensors = {GENERATOR + name: tensor.float() for name, tensor in generator.items()}
        tensors |= {f"{DISCRIMINATOR}{owner(name)}": tensor.float() for name, tensor in discriminator.items()}
        return Source(tensors=tensors, **vars(found))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise ValueError(f"source {file} is no checkpoint of a trial: {error}") from error


def _owners(options: Mapping[str, Any], backbone: str) -> Callable[[str], str]:
    """From the name of a tensor of D to its name in a source: whose it is, its kind's or its backbone's, and what it is there.

    So each member of an ensemble can be had by itself, unless two have one owner.
    """

    def owner(kind: str) -> str:
        return kind if kind in DISCRIMINATORS and DISCRIMINATORS[kind].trunkless else backbone

    members = [owner(str(member.get("name"))) for member in options.get("members") or ()]
    if not members or len(set(members)) < len(members):
        return lambda name: f"{owner(str(options.get('name')))}.{name}"

    def of_member(name: str) -> str:
        _, place, rest = name.split(".", 2)
        return f"{members[int(place)]}.{rest}"

    return of_member
