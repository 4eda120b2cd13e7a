"""What a sweep was started on, by content. A resumed one compares its trials with those before, so it must be on the same.

The pictures go by the hash of their pixels, so that they may be moved; what trials start from by the hash of its bytes; the
metric by its name. Lies as ``fingerprint.json`` in the sweep's folder.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainables.data import load_dataset
from trainables.evaluation import load_pictures
from trainables.export_files import WEIGHTS
from trainables.storage import Storage
from tuner.spec.checks import example_configs
from tuner.spec.model import SweepSpec
from tuner.spec.problems import Problem

FINGERPRINT = "fingerprint.json"
_PUBLISHED = ("pretrained", "random")  # weights that are no file of the user's

_PARTS = {  # part → key of the spec, what it is, how it can come to differ under the same path
    "pictures": ("data.path", "the pictures", "pictures were added, removed, renamed or edited, or are decoded otherwise"),
    "style": ("task.style", "the style's pictures", "pictures were added, removed, renamed or edited, or are decoded otherwise"),
    "source": ("source", "the source", "its bytes are others"),
    "weights": ("trial.weights", "the weights", "their bytes are others"),
    "metric": ("trial.evaluation.metric", "the metric that drives the search", "its name is another"),
}


def fingerprint(spec: SweepSpec, cache_dir: Path) -> dict[str, Any]:
    """What the trials of ``spec`` depend on beside the spec itself, as JSON data.

    Raises:
        DataError, OSError: the pictures, the source or the weights cannot be read; `preflight` has the words for it.
    """
    style = load_pictures(spec.task, spec.data, str(cache_dir)).style
    files = {config.weights for config in example_configs(spec)} - {*_PUBLISHED}
    return {
        "pictures": load_dataset(spec.data, cache_dir).content_hash,
        "style": None if style is None else style.content_hash,
        "source": _sha256_of_all(spec.sources),
        # One that is not there is the trial's failure, and may be put there for the next.
        "weights": sorted(_sha256(Path(file)) for file in files if Path(file).exists()),
        "metric": str(spec.metric),
    }


def write_fingerprint(spec: SweepSpec, cache_dir: Path) -> None:
    """Writes the fingerprint into the sweep's folder, at the sweep's start and, equal then, at each resume."""
    Storage(spec.root).write_bytes(FINGERPRINT, json.dumps(fingerprint(spec, cache_dir), indent=1).encode())


def changes(spec: SweepSpec, cache_dir: Path) -> Iterator[Problem]:
    """What differs from the sweep's fingerprint. Without one, as an earlier version left it, a warning and nothing more."""
    try:
        before = json.loads(Storage(spec.root).read_bytes(FINGERPRINT))
        if not isinstance(before, dict) or not before.keys() >= _PARTS.keys():
            raise ValueError("it lacks parts")
    except (FileNotFoundError, ValueError, RecursionError) as error:
        why = "is missing, as an earlier version left it" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        rest = "whether pictures, source and metric are those that it began with cannot be told"
        warnings.warn(f"the fingerprint of {spec.root} {why}: {rest}", stacklevel=2)
        return
    now = fingerprint(spec, cache_dir)
    for part, (key, what, how) in _PARTS.items():
        if now[part] != before[part]:
            shown = f"It was {_short(before[part])}, and is {_short(now[part])} now"
            yield Problem(key, f"{what} cannot change in a resumed sweep, but {how}: start one under another name. {shown}")


def _sha256_of_all(sources: Sequence[str]) -> str | list[str] | None:
    found = [_sha256(Path(source)) for source in sources]
    return None if not found else found[0] if len(found) == 1 else found


def _sha256(path: Path) -> str:
    """Of a file, or of an export's weights."""
    with (path / WEIGHTS if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "none"
    return "none" if value is None else value if "[" in value else str(value)[:12]
