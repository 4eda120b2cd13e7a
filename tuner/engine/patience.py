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


class Patience:
    """Tries again what the storage refuses.

    Args:
        say: shows a line to the user.
        ended: why there is no more point in waiting, such as Ctrl-C; None while there is.
        every_s: time between two tries.
    """

    def __init__(self, say: Callable[[str], None], ended: Callable[[], str | None], every_s: float = 1.0) -> None:
        self._say, self._ended, self._every_s = say, ended, every_s

    def insist(self, what: str, action: Callable[[], T]) -> T:
        """What ``action`` returns once it does not raise OSError.

        Args:
            what: what is being done, for people: "writing trial 3's record".

        Raises:
            OSError: the last one, when waiting was `ended`.
        """
        began, said = time.monotonic(), -_SAY_EVERY_S
        while True:
            try:
                result = action()
            except OSError as error:
                waited = time.monotonic() - began
                if self._ended() is not None:
                    raise
                if waited - said >= _SAY_EVERY_S:
                    said = waited
                    self._say(f"paused for {waited:.0f} s: {what} fails: {error}. It is tried again until it works")
                time.sleep(self._every_s)
            else:
                if said >= 0:
                    self._say(f"goes on after {time.monotonic() - began:.0f} s: {what} works again")
                return result
