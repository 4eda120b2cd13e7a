"""The export or the source that a command was given; and where a sweep was given in its place, what to do first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.export_files import CONFIG
from trainables.exported import load_export
from trainables.source import SUFFIXES, generator_of, open_source

_SPEC, _EXPORTS = "spec.yaml", "export"


def open_generator(source: Path) -> tuple[nn.Module, int]:
    """The generator of an export's folder or of a source's file, ready to sample, and the side of its pictures in pixels.

    Raises:
        ValueError: as of `open_export`, `open_source` and `generator_of`.
    """
    if source.is_dir() or source.suffix.lower() not in SUFFIXES:
        generator, config = open_export(source)
        return generator, config["resolution"]
    found = open_source(source, discriminator=False)
    try:
        generator = generator_of(found)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    assert found.resolution is not None
    return generator, found.resolution


def open_export(folder: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """As `load_export`.

    Raises:
        ValueError: the folder is no export; it says how to come to one where it is a sweep, or holds exports.
    """
    if not (folder / CONFIG).exists():
        found = [file.parent for below in (folder, folder / _EXPORTS) for file in sorted(below.glob(f"*/{CONFIG}"))]
        if found:
            what = "a sweep" if (folder / _SPEC).is_file() else "a folder of exports"
            raise ValueError(f"{folder} is {what}, and not an export. Its exports: {', '.join(map(str, found))}")
        if (folder / _SPEC).is_file():
            raise ValueError(f"{folder} is a sweep: make an export of it first, by gansweep export {shlex.quote(str(folder))}")
    return load_export(folder, device)
