"""The files of one trial: full-state checkpoints and preview grids. Written by rank 0 at every evaluation.

``checkpoint_<step>.pt`` holds ``{"trainer": GanTrainer.state_dict(), "report": of that evaluation, "format": FORMAT}``.
The newest is kept to resume from; older ones are deleted only after a newer one is complete. ``best.pt`` holds the averaged
generator with the best score so far: ``{"ema": state dict, "report": ..., "format": FORMAT}``.
"""

from __future__ import annotations

import re
from typing import Any

from trainables.storage import Storage

FORMAT = 2
_NAME = re.compile(r"checkpoint_(\d+)\.pt")
_BEST = "best.pt"


class TrialFiles:
    """Names, writes and reads the files below a trial's folder."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint; None when there is none."""
        steps = [int(match[1]) for name in self.storage.list() if (match := _NAME.fullmatch(name))]
        return max(steps, default=None)

    def load(self, step: int) -> dict[str, Any]:
        """A checkpoint's content. ValueError when it was written by another version of the format."""
        return self._checked(self.storage.load(f"checkpoint_{step:08d}.pt"))

    def load_best(self) -> dict[str, Any]:
        """The averaged generator with the best score so far. FileNotFoundError when the trial was never evaluated."""
        return self._checked(self.storage.load(_BEST))

    def save(self, trainer_state: dict[str, Any], report: dict[str, Any], preview: bytes, *, is_best: bool) -> None:
        """Writes preview and checkpoint, then deletes what they replace. ``preview``: a PNG file."""
        step = report["step"]
        self.storage.write_bytes(preview_name(step), preview)
        if is_best:
            self.storage.save(_BEST, {"ema": trainer_state["ema"], "report": report, "format": FORMAT})
        self.storage.save(f"checkpoint_{step:08d}.pt", {"trainer": trainer_state, "report": report, "format": FORMAT})
        for name in self.storage.list():
            match = _NAME.fullmatch(name)
            if match and int(match[1]) != step:
                self.storage.delete(name)

    def _checked(self, state: dict[str, Any]) -> dict[str, Any]:
        if state.get("format") != FORMAT:
            raise ValueError(f"checkpoint format must be {FORMAT}, but got {state.get('format')} in {self.storage.root}")
        return state


def preview_name(step: int) -> str:
    """The preview grid of the evaluation after ``step``, relative to the trial's folder."""
    return f"preview_{step:08d}.png"
