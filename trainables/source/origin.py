"""Where an imported network comes from, and the warning that goes with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

LICENCE = (
    "Imported weights keep their licence. NVIDIA's pretrained networks, and what is fine-tuned from them, are under NVIDIA's "
    "source code licence: for research and evaluation, not for commercial use. See what the file came with."
)


def origin(file: Path, kind: str, weights: str) -> dict[str, Any]:
    """Metadata of an imported network.

    Args:
        kind: which format the file has.
        weights: what its generator is called in the file.
    """
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"origin": {"name": file.name, "sha256": digest, "format": kind, "weights": weights}, "licence": LICENCE}
