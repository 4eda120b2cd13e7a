"""The files of one trial: full-state checkpoints and preview grids. Written by rank 0 at every evaluation.

``checkpoint_<step>.pt`` holds ``{"trainer": GanTrainer.state_dict(), "report": of that evaluation, "format": FORMAT}``.
The newest is kept to resume from; older ones are deleted only after a newer one is complete. ``best.pt`` holds the averaged
generator with the best score so far: ``{"ema": state dict, "report": ..., "format": FORMAT}``.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

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

    def save(self, trainer_state: dict[str, Any], report: dict[str, Any], preview: Tensor, *, is_best: bool) -> None:
        """Writes preview and checkpoint, then deletes what they replace. ``preview``: a `grid`, uint8 [3, H, W]."""
        step = report["step"]
        self.storage.write_bytes(preview_name(step), png(preview))
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


_GAP = 2  # white pixels around every picture of a grid


def grid(images: Tensor, columns: int | None = None, scale: int = 1) -> Tensor:
    """[N, 3, H, W] images in [-1, 1] → one uint8 [3, H', W'] picture, about as wide as high; ``scale`` enlarges the pixels.

    Not `torchvision.utils.make_grid`, whose import takes every process of a sweep three seconds.
    """
    columns = min(len(images), columns or max(1, round(len(images) ** 0.5)))
    pictures = enlarged(images.detach().cpu().float().clamp(-1, 1), scale)
    framed = pad(pictures, (_GAP, 0, _GAP, 0), value=1)
    rows = [torch.cat(list(row), dim=-1) for row in framed.split(columns)]
    rows[-1] = pad(rows[-1], (0, rows[0].shape[-1] - rows[-1].shape[-1]), value=1)
    return ((pad(torch.cat(rows, dim=-2), (0, _GAP, 0, _GAP), value=1) + 1) * 127.5).round().byte()


def enlarged(pictures: Tensor, scale: int) -> Tensor:
    """[..., H, W] → [..., scale·H, scale·W]: each pixel a square, as people see small pictures best."""
    return pictures.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def from_png(data: bytes) -> Tensor:
    """The picture of a PNG file, uint8 [3, H, W]."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


def png(picture: Tensor) -> bytes:
    """A uint8 [3, H, W] picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, format="PNG")
    return buffer.getvalue()
