"""The files of one trial: full-state checkpoints and preview grids. Written by rank 0 at every evaluation.

``checkpoint_<step>.pt`` holds ``{"trainer": GanTrainer.state_dict(), "report": of that evaluation, "config": the trial's,
"format": FORMAT}``. The newest is kept to resume from; older ones are deleted only after a newer one is complete. ``best.pt``
holds the averaged generator with the best score so far: ``{"ema": state dict, "report": ..., "config": ..., "format": FORMAT}``.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from trainables.storage import Storage

FORMAT = 2
_NAME = re.compile(r"checkpoint_(\d+)\.pt")
_BEST = "best.pt"


class OtherFormatError(ValueError):
    """A file that another version of gansweep wrote, and that this one cannot read. It is not damaged."""


class TrialFiles:
    """Names, writes and reads the files below a trial's folder.

    Args:
        number: the trial's; files of another trial are then refused. None takes any.
    """

    def __init__(self, storage: Storage, number: int | None = None) -> None:
        self.storage, self.number = storage, number

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint; None when there is none."""
        return max(self._steps(), default=None)

    def newest(self) -> dict[str, Any] | None:
        """The content of the newest checkpoint that can be read; None when there is none, and the trial must start anew.

        A damaged one is passed over with a warning that names it.

        Raises:
            OtherFormatError: another version of gansweep wrote it; to start anew would throw away what can be gone on with.
            OSError: the storage cannot be read.
        """
        passed_over: set[int] = set()
        while steps := self._steps() - passed_over:
            try:
                return self.load(max(steps))
            except OtherFormatError:
                raise
            except FileNotFoundError:
                continue  # replaced by a newer one meanwhile, which is listed now
            except ValueError as error:
                warnings.warn(f"a checkpoint is passed over, and what it held is trained again: {error}", stacklevel=2)
                passed_over.add(max(steps))
        return None

    def adopt(self, other: TrialFiles) -> None:
        """Takes over another trial's newest checkpoint and best generator as this trial's own, to go on from there."""
        assert self.number is not None
        state = other.newest()
        if state is None:
            return
        self._save(_BEST, other.load_best() | {"report": other.load_best()["report"] | {"number": self.number}})
        step = state["report"]["step"]
        self.storage.write_bytes(preview_name(step), other.storage.read_bytes(preview_name(step)))
        self._save(f"checkpoint_{step:08d}.pt", state | {"report": state["report"] | {"number": self.number}})

    def load(self, step: int) -> dict[str, Any]:
        """A checkpoint's content.

        Raises:
            ValueError: it is damaged, another trial's or of another step, or (OtherFormatError) of another version.
        """
        name = f"checkpoint_{step:08d}.pt"
        state = self._checked(name, ("trainer", "report"))
        if state["report"].get("step") != step:
            raise ValueError(f"{self.storage.root}/{name} must hold step {step}, but holds step {state['report'].get('step')}")
        return state

    def load_best(self) -> dict[str, Any]:
        """The averaged generator with the best score so far.

        Raises:
            FileNotFoundError: the trial was never evaluated.
            ValueError: it is damaged, another trial's, or (OtherFormatError) of another version.
        """
        return self._checked(_BEST, ("ema", "report"))

    def save(
        self,
        trainer_state: dict[str, Any],
        report: dict[str, Any],
        preview: bytes,
        *,
        is_best: bool,
        config: dict[str, Any] | None = None,
    ) -> None:
        """Writes preview and checkpoint, then deletes what they replace.

        Args:
            preview: a PNG file.
            config: the trial's, as JSON data, by which the files can be a source that says what it is.
        """
        step = report["step"]
        shared = {"report": report} if config is None else {"report": report, "config": config}
        self.storage.write_bytes(preview_name(step), preview)
        if is_best:
            self._save(_BEST, {"ema": trainer_state["ema"], **shared})
        self._save(f"checkpoint_{step:08d}.pt", {"trainer": trainer_state, **shared})
        for name in self.storage.list():
            match = _NAME.fullmatch(name)
            if match and int(match[1]) != step:
                self.storage.delete(name)

    def _save(self, name: str, state: dict[str, Any]) -> None:
        self.storage.save(name, state | {"format": FORMAT})

    def _steps(self) -> set[int]:
        return {int(match[1]) for name in self.storage.list() if (match := _NAME.fullmatch(name))}

    def _checked(self, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
        state, file = self.storage.load(name), f"{self.storage.root}/{name}"
        if state.get("format") != FORMAT:
            raise OtherFormatError(f"checkpoint format must be {FORMAT}, but got {state.get('format')} in {file}")
        for key in keys:
            if not isinstance(state.get(key), dict):
                raise ValueError(f"{file} is no checkpoint of a trial: it has no {key!r}")
        number = state["report"].get("number")
        if self.number is not None and number != self.number:
            raise ValueError(f"{file} must be of trial {self.number}, but is of trial {number}")
        return state


def preview_name(step: int) -> str:
    """The preview grid of the evaluation after ``step``, relative to the trial's folder."""
    return f"preview_{step:08d}.png"
