"""``gansweep sample``: pictures of an exported generator."""

from __future__ import annotations

from pathlib import Path

from trainables.exported import enlargement
from trainables.exported import sample as samples
from trainables.pictures import grid, png
from tuner.commands.exports import open_export
from tuner.commands.terminal import fail


def run(export: Path, n: int, out: Path, seed: int, scale: int | None) -> None:
    """`gansweep sample`."""
    if out.suffix.lower() not in ("", ".png"):
        fail(f"--out must be a .png file for one grid, or a folder for a file each, but got {out}")
    try:
        generator, config = open_export(export)
        images = samples(generator, range(n), seed)
        scale = scale or enlargement(config["resolution"])
        if out.suffix.lower() == ".png":
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(png(grid(images, scale=scale)))
        else:
            out.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                (out / f"{index:06d}.png").write_bytes(png(((image + 1) * 127.5).round().clamp(0, 255).byte()))
    except (ValueError, OSError) as error:
        fail(error)
    print(f"{n} pictures: {out}")
