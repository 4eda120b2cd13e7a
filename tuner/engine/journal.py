"""The sweep's Optuna journal: one file, one writer, that survives whatever happens to that writer.

Optuna's own backend guards a file against other writers by a lock that a killed process leaves behind for thirty seconds, and
cannot read a file whose last line was torn. Here the sweep's lease (`tuner.engine.lease`) keeps other writers away, the last
line is mended when the journal is opened, and a write that fails leaves nothing of itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from tuner.engine.patience import NotOursError, Patience
from tuner.records.files import append


class _NoLock:
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class SweepJournal(JournalFileBackend):
    """Optuna's journal file for its only writer.

    Raises:
        ValueError: a line before the last is damaged.
    """

    def __init__(self, file: Path, patience: Patience) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._patience = file, patience
        self._size = _mended(file)
        # What a driver that was killed in the midst of a write of Optuna's own has left.
        file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
        super().__init__(str(file), lock_obj=_NoLock())

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The entries from a number on; waits while the storage refuses."""
        read = super().read_logs
        yield from self._patience.insist(f"reading {self._file.name}", lambda: list(read(log_number_from)), reads=True)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes entries so that all of them or none is there; waits while the storage refuses."""
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()

        known: list[int | None] = [self._size, None]  # what else may lie there at a second try is what the first one has left

        def write() -> int:
            expected = known.pop(0) if len(known) > 1 else known[0]
            if expected is not None and self._file.stat().st_size != expected:
                raise NotOursError(f"somebody else has written to {self._file}")
            size = append(self._file, self._size, data)
            descriptor = os.open(self._file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return size

        self._size = self._patience.insist(f"writing {self._file.name}", write)


def _mended(file: Path) -> int:
    """Cuts a torn last line off and returns the journal's size. A line is torn when its writer died in the midst of it."""
    if not file.exists():
        return 0
    raw = file.read_bytes()
    lines = raw.split(b"\n")
    size = len(raw) - len(lines[-1])
    for number, line in enumerate(lines[:-1], start=1):
        if not _is_entry(line):
            if number == len(lines) - 1:  # the last one: a disk that lost power may keep its length and not its bytes
                size -= len(line) + 1
                break
            raise ValueError(f"{file} is damaged: line {number} is no entry of Optuna's journal; put back a copy of the file")
    if size < len(raw):
        os.truncate(file, size)
    return size


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
