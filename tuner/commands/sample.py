"""``gansweep sample``: pictures of an exported generator, or of a source's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from trainables.exported import enlargement
from trainables.exported import sample as samples
from trainables.pictures import grid, grid_size, png
from trainables.storage import Storage
from tuner.commands.exports import open_generator
from tuner.commands.terminal import bars, fail

_PIXELS_AT_ONCE = 2**20  # of a batch: StyleGANs take about a kilobyte for each


def run(
    source: Path, n: int, out: Path, seed: int, scale: int | None, truncation: float, label: int | None, *, force: bool = False
) -> None:
    """`gansweep sample`."""
    if out.suffix.lower() not in ("", ".png"):
        fail(f"--out must be a .png file for one grid, or a folder for a file each, but got {out}")
    if not force and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        what = "would be replaced" if out.is_file() else "is not empty"
        fail(f"{out} {what}: choose another --out, or add --force")
    try:
        generator, resolution = open_generator(source)
        if out.suffix.lower() == ".png":
            _refuse_large(n, resolution, scale)
        with bars(Console(stderr=True)) as progress:
            batches = in_batches(generator, resolution, n, progress, seed=seed, truncation=truncation, label=label)
            if out.suffix.lower() == ".png":
                write_grid(out, torch.cat(list(batches)), scale)
            else:
                _write_each(Storage(out), batches)
    except (ValueError, OSError) as error:
        fail(error)
    print(f"{n} pictures: {out}")


def _refuse_large(n: int, resolution: int, scale: int | None) -> None:
    """A grid is held in memory several times over, and beyond Pillow's limit few programs open it."""
    side = (scale or enlargement(resolution)) * resolution

    def pixels(count: int) -> int:
        width, height = grid_size(count, side)
        return width * height

    limit = Image.MAX_IMAGE_PIXELS or math.inf
    if pixels(n) > limit:
        largest = next((count for count in range(min(n, int(limit) // side**2 + 1), 0, -1) if pixels(count) <= limit), 0)
        rule = f"must be at most {largest} for a grid of pictures of {side} px" if largest else "makes even one picture too large"
        advice = "take a folder as --out for a file each" if largest else "take a smaller --scale"
        raise ValueError(f"--n {rule}, or it has more than {limit:,} pixels, but got {n}: {advice}")


def in_batches(
    generator: nn.Module,
    resolution: int,
    n: int,
    progress: Callable[[str, int, int | None], None],
    seed: int = 0,
    truncation: float = 1.0,
    label: int | None = None,
) -> Iterator[Tensor]:
    """The first ``n`` pictures of the sequence that ``seed`` names, as many at once as memory surely holds; see `samples`.

    Raises:
        ValueError: the generator makes none of these; ``truncation`` is not finite.
    """
    if not math.isfinite(truncation):
        raise ValueError(f"--truncation must be a finite number, but got {truncation}")
    size = max(1, min(64, _PIXELS_AT_ONCE // resolution**2))
    for start in range(0, n, size):
        yield samples(generator, range(start, min(start + size, n)), seed, truncation=truncation, label=label)
        progress("pictures", min(start + size, n), n)


def write_grid(file: Path, images: Tensor, scale: int | None = None) -> None:
    """Writes images [N, 3, H, W] in [-1, 1] as one picture."""
    Storage(file.parent).write_bytes(file.name, png(grid(images, scale=scale or enlargement(images.shape[-1]))))


def _write_each(storage: Storage, batches: Iterator[Tensor]) -> None:
    written = 0
    for images in batches:
        for image in images:
            storage.write_bytes(f"{written:06d}.png", png(((image + 1) * 127.5).round().clamp(0, 255).byte()))
            written += 1
