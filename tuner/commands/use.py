"""What a user may type next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it needs torch, which takes seconds
    from tuner.spec import SweepSpec


def use_of(export: Path, spec: SweepSpec) -> str:
    """The command that uses an export of this sweep."""
    if spec.task.name == "generation":
        return f"gansweep sample {quoted(export)} --n 64 --out grid.png"
    return f"gansweep apply {quoted(export)} PICTURE... --out DIR"


def quoted(path: Path) -> str:
    return shlex.quote(str(path))
