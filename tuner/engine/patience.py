"""What the driver does when the sweep's storage refuses: the sweep pauses, says so, tries again, and goes on.

A verdict is given only after what it rests on is written; so while the storage is full or away nothing is decided, workers wait,
and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_SAY_EVERY_S = 30.0


class NotOursError(RuntimeError):
    """The sweep is another driver's now: nothing of it may be written."""


class Patience:
    """Tries again what the storage refuses. Everything that a driver writes and must not lose goes through it.

    Args:
        say: shows a line to the user.
        ended: why there is no more point in waiting, such as Ctrl-C; None while there is.
        allowed: whether the sweep is still this driver's.
        every_s: time between two tries.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        ended: Callable[[], str | None],
        allowed: Callable[[], bool] = lambda: True,
        every_s: float = 1.0,
    ) -> None:
        self.say, self._ended, self._allowed, self._every_s = say, ended, allowed, every_s

    def insist(self, what: str, action: Callable[[], T], *, reads: bool = False) -> T:
        """What ``action`` returns once it does not raise OSError.

        Args:
            what: what is being done, for people: "writing trial 3's record".
            reads: whether nothing is written, which another driver's sweep allows.

        Raises:
            OSError: the last one, when waiting was `ended`.
            NotOursError: another driver has the sweep now.
        """
        began, said = time.monotonic(), -_SAY_EVERY_S
        while True:
            try:
                if not reads and not self._allowed():
                    raise NotOursError(f"another driver has taken the sweep over: no more {what}")
                result = action()
            except OSError as error:
                waited = time.monotonic() - began
                if self._ended() is not None:
                    raise
                if waited - said >= _SAY_EVERY_S:
                    said = waited
                    self.say(f"paused for {waited:.0f} s: {what} fails: {error}. It is tried again until it works")
                time.sleep(self._every_s)
            else:
                if said >= 0:
                    self.say(f"goes on after {time.monotonic() - began:.0f} s: {what} works again")
                return result
