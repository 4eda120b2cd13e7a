"""The formats that a source can have, told apart by their names. None of a source's own code is ever run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from trainables.source import checkpoint_file, export, stylegan_pickle, trial
from trainables.source.source import Architecture, Source


def open_source(source: str | Path) -> Source:
    """A source: its tensors, and what it says of itself.

    Args:
        source: a source checkpoint (``.safetensors``), an export's folder, a ``checkpoint_*.pt`` or ``best.pt`` of a trial, or an
            official StyleGAN pickle (``.pkl``).

    Raises:
        ValueError: it is missing, damaged, or none of these; the message names it.
    """
    source = _there(source)
    if source.is_dir():
        return export.read(source)
    if source.suffix == stylegan_pickle.SUFFIX:
        return stylegan_pickle.read(source)
    return trial.read(source) if source.suffix == ".pt" else checkpoint_file.read(source)


def architecture_of(source: str | Path) -> Architecture:
    """What a source says of itself; without reading its tensors where the format allows that. ValueError as for `open_source`."""
    source = _there(source)
    if source.is_dir():
        return export.architecture(source)
    if source.suffix in (".pt", stylegan_pickle.SUFFIX):
        return open_source(source).architecture
    return checkpoint_file.architecture(source)


def read_source(source: str | Path) -> dict[str, Tensor]:
    """The tensors of a source, as float32, under the names of `Source.tensors`. ValueError as for `open_source`."""
    return open_source(source).tensors


def _there(source: str | Path) -> Path:
    source = Path(source)
    if not source.exists():
        raise ValueError(f"source checkpoint {source} does not exist")
    return source
