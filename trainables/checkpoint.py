"""The files of one trial: full-state checkpoints and preview grids. Written by rank 0 at every evaluation, beside it.

``checkpoint_<step>.pt`` holds ``{"trainer": GanTrainer.state_dict(), "report": of that evaluation, "config": the trial's,
"format": FORMAT}``, the report at its end. The newest is kept to resume from; older ones are deleted only after a newer one is
complete. ``best.pt`` holds the averaged generator with the best score so far: ``{"ema": state dict, "report": ..., "config": ...,
"format": FORMAT}``.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

from trainables.storage import Storage

FORMAT = 3
_NAME = re.compile(r"checkpoint_(\d+)\.pt")
_BEST = "best.pt"


Found = Callable[[], tuple[dict[str, Any], bool]]
"""Waits for an evaluation: its report, and whether its score is the trial's best."""


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
        self._write(trainer_state, report["step"], lambda: preview, config, lambda: (report, is_best))

    def saving(
        self, trainer_state: dict[str, Any], step: int, preview: Callable[[], bytes], config: dict[str, Any] | None = None
    ) -> Saving:
        """As `save`, beside an evaluation whose report is still to come: see `Saving`.

        Args:
            trainer_state: must stay as it is until the end, but for tensors on a GPU, which are copied first.
        """
        state, copied = _on_host(trainer_state)

        def write(found: Found) -> None:
            copied()
            self._write(state, step, preview, config, found)

        return Saving(write)

    def _write(
        self, state: dict[str, Any], step: int, preview: Callable[[], bytes], config: dict[str, Any] | None, found: Found
    ) -> None:
        """``found`` is called when all that does not depend on it has been written; the checkpoint is there when all else is."""
        shared, png = {} if config is None else {"config": config}, preview()

        def last() -> dict[str, Any]:
            report, is_best = found()
            self.storage.write_bytes(preview_name(step), png)
            if is_best:
                self._save(_BEST, {"ema": state["ema"], "report": report, **shared})
            return {"report": report}

        self._save(f"checkpoint_{step:08d}.pt", {"trainer": state, **shared}, last)
        for name in self.storage.list():
            match = _NAME.fullmatch(name)
            if match and int(match[1]) != step:
                self.storage.delete(name)

    def _save(self, name: str, state: dict[str, Any], last: Callable[[], dict[str, Any]] | None = None) -> None:
        self.storage.save(name, state | {"format": FORMAT}, last)

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


class Saving:
    """A checkpoint that a thread writes while its evaluation is computed: all but the report, which ends the file.

    The file is not there under its name before `finish`. As a context manager it is abandoned where `finish` was not called.
    """

    def __init__(self, write: Callable[[Found], None]) -> None:
        self._write, self._found, self._written = write, Future[tuple[dict[str, Any], bool]](), Future[None]()
        Thread(target=self._run, name="checkpoint", daemon=True).start()

    def _run(self) -> None:
        try:
            self._written.set_result(self._write(self._found.result))
        except BaseException as error:
            self._written.set_exception(error)

    def finish(self, report: dict[str, Any], *, is_best: bool) -> None:
        """Returns when all files are there. OSError when they cannot be written; called again, all is written anew."""
        if self._found.done():
            self._write(lambda: (report, is_best))
        else:
            self._found.set_result((report, is_best))
            self._written.result()

    def __enter__(self) -> Saving:
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves nothing of a checkpoint whose evaluation has failed."""
        if self._found.cancel():
            self._written.exception()


def _on_host(state: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], None]]:
    """The same state with copies of its tensors on a GPU in host memory, and what waits until they are there."""
    import torch  # not at the top: the driver's records ask for a file's name here

    on_gpu = False

    def copied(x: Any) -> Any:
        nonlocal on_gpu
        if isinstance(x, dict):
            same = copy.copy(x)  # with what a module's state has beside its tensors
            same.update({key: copied(value) for key, value in x.items()})
            return same
        if isinstance(x, list | tuple):
            return type(x)(map(copied, x))
        if not isinstance(x, torch.Tensor) or x.device.type != "cuda":
            return x
        on_gpu = True
        return torch.empty_like(x, device="cpu", pin_memory=True).copy_(x, non_blocking=True)

    host = copied(state)
    if not on_gpu:
        return host, lambda: None
    there = torch.cuda.Event()
    there.record()
    return host, there.synchronize


def preview_name(step: int) -> str:
    """The preview grid of the evaluation after ``step``, relative to the trial's folder."""
    return f"preview_{step:08d}.png"
