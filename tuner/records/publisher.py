"""What people read while a sweep runs, the leaderboard and TensorBoard's events, written beside the engine.

The engine's thread, which every verdict waits for, only notes how a trial stands; one thread writes it, about once a second.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

from trainables.scoring import Metric
from tuner.records.paths import SweepPaths
from tuner.records.tables import Leaderboard
from tuner.records.tensorboard import TensorBoardLog
from tuner.records.trials import RecordBook, State, TrialRecord

_REST = 20.0  # the leaderboard of all trials is not written again before this many times as long as it took


class Publisher:
    """Writes ``leaderboard.json`` and the TensorBoard logs of a sweep, in batches.

    An OSError of the storage loses nothing: what was not written is tried again, and `trouble` says so meanwhile.

    Args:
        records: the trials of earlier runs, which the leaderboard has too.
        every_s: seconds between batches.
        allowed: whether these files are still this driver's to write; asked before each batch, which else is dropped.
    """

    def __init__(
        self,
        paths: SweepPaths,
        records: RecordBook,
        metric: Metric,
        every_s: float = 1.0,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.paths, self.every_s, self._allowed = paths, every_s, allowed
        self._waits: str | None = None  # why the last batch could not be written
        self._lost: str | None = None  # what never will be
        self._news = collections.deque(("earlier", record.snapshot()) for record in records.all())
        self._board, self._log = Leaderboard(metric), TensorBoardLog(paths, metric, batched=True)
        self._board_changed, self._board_due = False, 0.0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def started(self, record: TrialRecord) -> None:
        """A trial begins, or goes on."""
        self._note("start", record)

    def reported(self, record: TrialRecord) -> None:
        """A trial has a new report."""
        self._note("report", record)

    def ended(self, record: TrialRecord) -> None:
        """A trial is over, or will go on later."""
        self._note("end", record)

    def close(self) -> None:
        """Ends the thread and writes what is left. OSError when that fails; then it may be called again."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._board_due = 0.0
        self._write()
        if self._allowed():
            self._log.close()

    def _note(self, kind: str, record: TrialRecord) -> None:
        self._news.append((kind, record.snapshot()))
        if self._thread is None:
            self._closing.clear()
            self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
            self._thread.start()

    @property
    def trouble(self) -> str | None:
        """What is not as it should be with the files that people read; None when all is well."""
        return self._waits or self._lost

    def _run(self) -> None:
        while not self._closing.wait(self.every_s):
            try:
                self._write()
            except OSError:
                pass  # `trouble` tells
            except Exception as error:  # whatever it is must not end the thread in silence
                self._lost = f"leaderboard or TensorBoard lacks something: {error!r}"

    def _write(self) -> None:
        if not self._allowed():
            self._news.clear()
            return
        while self._news:
            self._board_changed = True
            kind, record = self._news.popleft()
            try:
                self._take(kind, record)
            except Exception as error:  # whatever is wrong with one report must cost no other's
                self._lost = f"leaderboard or TensorBoard lacks something of trial {record.number}: {error!r}"
        failure: OSError | None = None
        for write in (self._log.flush, self._write_board):
            try:
                write()
            except OSError as error:
                failure = failure or error
        self._waits = None if failure is None else f"leaderboard and TensorBoard wait for the storage: {failure}"
        if failure is not None:
            raise failure

    def _take(self, kind: str, record: TrialRecord) -> None:
        self._board.put(record)
        if kind == "start":
            self._log.start(record)
        elif kind == "report":
            self._log.report(record, record.reports[-1])
        elif kind == "end" and record.state != State.RUNNING:
            self._log.end(record)

    def _write_board(self) -> None:
        started = time.monotonic()
        if self._board_changed and started >= self._board_due:
            self._board.write(self.paths)
            self._board_changed = False
            self._board_due = time.monotonic() + _REST * (time.monotonic() - started)
