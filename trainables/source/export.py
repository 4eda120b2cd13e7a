"""Exports as sources: the averaged generator alone, and the configuration of the trial that made it."""

from __future__ import annotations

from pathlib import Path

from trainables.export_files import WEIGHTS, read_config, read_files
from trainables.layers.adapters import merged
from trainables.source.source import GENERATOR, Architecture, Source, described_by_trial


def read(folder: Path) -> Source:
    """An export.

    Raises:
        ValueError: the folder is none, or a damaged one.
    """
    try:
        state, config = read_files(_export(folder))
        found = described_by_trial(config, discriminator=False)
        return Source(tensors={GENERATOR + name: tensor.float() for name, tensor in merged(state).items()}, **vars(found))
    except ValueError as error:
        raise ValueError(f"source: {error}") from error


def architecture(folder: Path) -> Architecture:
    """What an export says of itself, without its tensors. ValueError as for `read`."""
    try:
        return described_by_trial(read_config(_export(folder)), discriminator=False)
    except ValueError as error:
        raise ValueError(f"source: {error}") from error


def _export(folder: Path) -> Path:
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} is a folder, but no export: it has no {WEIGHTS}")
    return folder
