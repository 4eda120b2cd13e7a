"""Checkpoints of trials as sources: the averaged generator and, of a full checkpoint, the discriminator."""

from __future__ import annotations

from pathlib import Path

from trainables.discriminators import DISCRIMINATORS
from trainables.layers.adapters import merged
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
        generator, discriminator, backbone = merged(state["ema"]), state.get("discriminator", {}), state.get("backbone")
        kind = (found.discriminator or {}).get("name", "")
        whose = kind if kind in DISCRIMINATORS and DISCRIMINATORS[kind].trunkless else backbone
        tensors = {GENERATOR + name: tensor.float() for name, tensor in generator.items()}
        tensors |= {f"{DISCRIMINATOR}{whose}.{name}": tensor.float() for name, tensor in discriminator.items()}
        return Source(tensors=tensors, **vars(found))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"source {file} is no checkpoint of a trial: {error}") from error
