"""The formats that a source can have, told apart by their names. None of a source's own code is ever run."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from trainables.source import checkpoint_file, export, rosinality, stylegan_pickle, trial
from trainables.source.source import DISCRIMINATOR, Architecture, Source

SUFFIXES = {
    checkpoint_file.SUFFIX: "a source checkpoint",
    trial.SUFFIX: "a trial's checkpoint, or one of rosinality's stylegan2-pytorch",
    stylegan_pickle.SUFFIX: "an official StyleGAN pickle",
}


def open_source(source: str | Path, *, discriminator: bool = True) -> Source:
    """A source: its tensors, and what it says of itself.

    Args:
        source: a source checkpoint (``.safetensors``), an export's folder, a ``checkpoint_*.pt`` or ``best.pt`` of a trial, an
            official pickle of StyleGAN2-ADA or StyleGAN3 (``.pkl``), or a checkpoint of rosinality's stylegan2-pytorch (``.pt``).
        discriminator: whether D is taken too; a foreign one that does not fit is an error then.

    Raises:
        ValueError: it is missing, damaged, or none of these; the message names it.
    """
    source = _there(source)
    if _suffix(source) == stylegan_pickle.SUFFIX:
        return stylegan_pickle.read(source, discriminator=discriminator)
    if _suffix(source) == trial.SUFFIX and rosinality.is_one(source):
        return rosinality.read(source, discriminator=discriminator)
    read = export.read if source.is_dir() else trial.read if _suffix(source) == trial.SUFFIX else checkpoint_file.read
    found = read(source)
    return found if discriminator else _without_discriminator(found)


def architecture_of(source: str | Path) -> Architecture:
    """What a source says of itself; without reading its tensors where the format allows that. ValueError as for `open_source`."""
    source = _there(source)
    if source.is_dir():
        return export.architecture(source)
    if _suffix(source) == checkpoint_file.SUFFIX:
        return checkpoint_file.architecture(source)
    state = source.stat()
    return deepcopy(_architecture_of(source.absolute(), state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=32)
def _architecture_of(source: Path, mtime_ns: int, size: int) -> Architecture:
    """Of a file that must be read whole for it. Every configuration asks again, so it is kept while the file stays as it is."""
    return open_source(source).architecture


def read_source(source: str | Path) -> dict[str, Tensor]:
    """The tensors of a source, as float32, under the names of `Source.tensors`. ValueError as for `open_source`."""
    return open_source(source).tensors


def _suffix(source: Path) -> str:
    return source.suffix.lower()


def _there(source: str | Path) -> Path:
    source = Path(source)
    try:
        if not source.exists():
            raise ValueError(f"source checkpoint {source} does not exist")
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise ValueError(f"source checkpoint {source} cannot be looked at: {error.strerror or error}") from error
    if _suffix(source) not in SUFFIXES and not source.is_dir():
        kinds = ", ".join(f"{suffix} ({kind})" for suffix, kind in SUFFIXES.items())
        raise ValueError(f"source {source} must be the folder of an export, or a file whose name ends in one of {kinds}")
    return source


def _without_discriminator(source: Source) -> Source:
    tensors = {name: value for name, value in source.tensors.items() if not name.startswith(DISCRIMINATOR)}
    return replace(source, discriminator=None, tensors=tensors)
