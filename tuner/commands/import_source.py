"""``gansweep import``: a network of another project, or one of ours, as a source checkpoint; it ends with pictures.

It imports neither Ray nor Optuna.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from trainables.source import Source, generator_of, of_class, open_source, write_source
from tuner.commands.sample import in_batches, write_grid
from tuner.commands.terminal import bars, fail, print_json

_SUFFIX, _PICTURES = ".safetensors", ".png"


def run(file: Path, out: Path, discriminator: bool, label: int | None, force: bool, *, as_json: bool) -> None:
    """`gansweep import`."""
    console = Console(stderr=as_json, markup=False, highlight=False, soft_wrap=True)
    if out.suffix != _SUFFIX:
        fail(f"--out must be a file whose name ends in {_SUFFIX}, but got {out}")
    pictures = out.with_suffix(_PICTURES)
    if there := [str(path) for path in (out, pictures) if path.exists() and not force]:
        fail(f"{' and '.join(there)} would be replaced: choose another --out, or add --force")
    try:
        source = open_source(file, discriminator=discriminator)
        source = source if label is None else of_class(source, label)
        generator = generator_of(source)
    except ValueError as error:
        fail(str(error) if str(file) in str(error) else f"{file}: {error}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        images = _pictures(generator, source, console)
        write_source(out, source)
        if images is not None:
            write_grid(pictures, images)
    except OSError as error:
        fail(f"the storage refuses: {error}", code=1)
    told = _told(source, generator) | {"source": str(out), "pictures": None if images is None else str(pictures)}
    if as_json:
        print_json(told)
    else:
        _print(console, told, out, pictures)


def _pictures(generator: nn.Module, source: Source, console: Console) -> torch.Tensor | None:
    """Some pictures; None of a generator that is given pictures itself."""
    assert source.resolution is not None
    if generator.z_dim == 0:
        return None
    with bars(console) as progress:
        return torch.cat(list(in_batches(generator, source.resolution, 16 if source.resolution <= 256 else 4, progress)))


def _told(source: Source, generator: nn.Module) -> dict[str, Any]:
    """What it is, as JSON data."""
    named = ("generator", "discriminator")
    sizes = {name: sum(x.numel() for key, x in source.tensors.items() if key.startswith(f"{name}.")) for name in named}
    sizes["generator"] = sum(parameter.numel() for parameter in generator.parameters())
    parts = {name: getattr(source, name) for name in (*named, "resolution")}
    return parts | {"parameters": sizes, "metadata": source.metadata}


def _print(console: Console, told: dict[str, Any], out: Path, pictures: Path) -> None:
    sizes, metadata, ours, theirs = told["parameters"], told["metadata"], told["generator"], told["discriminator"]
    console.print(f"generator: {ours['name']}, {told['resolution']} px, {sizes['generator']:,} parameters")
    kind = f"{theirs['name'] if theirs else 'heads for a trunk'}, {sizes['discriminator']:,} parameters"
    console.print(f"discriminator: {kind if sizes['discriminator'] else 'none'}")
    if ours.get("c_dim"):
        console.print(
            f"classes: {ours['c_dim']}; one alone, for pictures without labels: gansweep import FILE --label 0 --out OTHER"
        )
    if "label" in metadata:
        console.print(f"class: {metadata['label']} alone")
    if "augment_p" in metadata:
        console.print(f"probability of augmentation when its training ended: {metadata['augment_p']:.3f}")
    if origin := metadata.get("origin"):
        console.print(f"origin: {origin['name']}, {origin['format']}, {origin['weights']}, sha256 {origin['sha256']}")
    if "licence" in metadata:
        console.print(f"licence: {metadata['licence']}")
    console.print(f"source: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if told["pictures"]:
        console.print(f"pictures: {pictures}")
        console.print(f"more: gansweep sample {shlex.quote(str(out))} --truncation 0.7 --n 16 --out grid.png")
