"""Why a sweep ends before its trials do: Ctrl-C, its wall time, a pause, another driver. Trials in flight stay resumable."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ray import tune

from tuner.engine.unsaved import Unsaved

_GRACE = 0.1  # of the wall time: how much longer trials may take to their next report
_LEAST_GRACE_S = 20.0


class Ending(Unsaved, tune.Stopper):
    """Tune asks it at every turn of its loop. What has ended a sweep stays.

    Args:
        wall_s: the wall time of this run; None for no limit. Trials stop at their next report after it, and wherever they are
            after a tenth of it more, 20 s at least: a group that hangs or starves does not outlive it for ever.
    """

    def __init__(self, wall_s: float | None = None) -> None:
        self.interrupted = False
        self.because: list[Callable[[], str | None]] = []  # more reasons: each gives one in words, or None
        self.deadline = None if wall_s is None else time.time() + wall_s
        self._last = None if wall_s is None else time.time() + wall_s + max(_LEAST_GRACE_S, _GRACE * wall_s)

    def reason(self) -> str | None:
        """Why the sweep ends now; None while it goes on."""
        if self.interrupted:
            return "interrupted"
        if self._last is not None and time.time() > self._last:
            return "the sweep's wall time is used up"
        return next((reason for ask in self.because if (reason := ask()) is not None), None)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Tune's question."""
        return self.reason() is not None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Inside the block Ctrl-C and SIGTERM (which a cluster's queue sends) end the sweep in good order.

        A second one raises KeyboardInterrupt where the driver stands, a third ends the process at once. Does nothing outside the
        main thread, where Python takes no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        count = 0

        def handle(number: int, frame: Any) -> None:
            nonlocal count
            count += 1
            self.interrupted = True
            if count == 2:
                raise KeyboardInterrupt
            if count > 2:
                os._exit(130)

        # A terminal and a job's supervisor may send the same signal twice within a moment.
        previous = {number: signal.signal(number, _once_a_moment(handle)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _once_a_moment(handle: Callable[[int, Any], None], moment_s: float = 0.5) -> Callable[[int, Any], None]:
    last = -moment_s

    def handler(number: int, frame: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= moment_s:
            last = now
            handle(number, frame)

    return handler
