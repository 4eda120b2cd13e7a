"""The actor through which trials go down to one worker group and its reports come up to the Tune actor that owns both.

Each group has its own, on its owner's node: losing one costs one trial an attempt, a thousand of them wake nobody but their own.
Everything is keyed by (trial, step): a message that comes late, of a trial that is over, changes nothing.
The mailbox holds no CPU and no tensors, and imports neither torch nor what it passes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ray

STOP = "stop"


class MailboxState:
    """Assignments, reports and verdicts of one worker group. The actor is `Mailbox`; this is all that it does."""

    def __init__(self) -> None:
        self._number: int | None = None  # of the open trial
        self._assignment = b""
        self._report: dict[str, Any] | None = None  # the open trial's newest
        self._verdict: tuple[int, int, str] | None = None  # (trial, step, verdict), the newest
        self._failure: dict[str, Any] | None = None  # of the open trial
        self._closed = False
        self._changed = asyncio.Condition()

    # What the Tune actor calls.

    async def assign(self, number: int, assignment: bytes) -> None:
        """Hands the next trial to the group, whose previous trial must have ended.

        Args:
            assignment: pickled, so that the mailbox need not import what it passes on (torch alone would take seconds).
        """
        self._number, self._assignment = number, assignment
        self._report = self._failure = None
        await self._notify()

    async def receive(self, after_step: int, timeout_s: float) -> dict[str, Any] | None:
        """The open trial's report of a step beyond ``after_step``, or ``{"failure": traceback, "fault": kind}``; None when the
        time is up."""

        def ready() -> bool:
            return self._failure is not None or (self._report is not None and self._report["step"] > after_step)

        if not await self._wait(ready, timeout_s):
            return None
        return self._failure or self._report

    async def decide(self, trial: int, step: int, verdict: str) -> None:
        """Answers the report of ``step``: the worker goes on, or ends the trial."""
        self._verdict = (trial, step, verdict)
        await self._notify()

    async def close(self) -> None:
        """No more trials for this group: its loop ends."""
        self._closed = True
        await self._notify()

    # What the worker group calls.

    async def next(self, finished: int | None) -> bytes | None:
        """Waits for the group's next trial, as `assign` was given it; None when there are no more.

        Args:
            finished: the trial that the caller has ended.
        """
        if finished is not None and self._number == finished:
            self._number = None
        await self._wait(lambda: self._closed or (self._number is not None and self._failure is None))
        return None if self._closed else self._assignment

    async def report(self, report: dict[str, Any]) -> str:
        """Hands up a report and waits for its verdict. One of a trial that is not open any more is answered by STOP."""
        trial, step = report["number"], report["step"]
        if trial == self._number:
            self._report = report
            await self._notify()

        def answer() -> str | None:
            if self._verdict is not None and self._verdict[0] == trial and self._verdict[1] >= step:
                return self._verdict[2]
            return STOP if self._closed or trial != self._number else None

        await self._wait(lambda: answer() is not None)
        return answer() or STOP

    async def fail(self, trial: int, traceback: str, fault: str | None) -> None:
        """The open trial raised an exception on one of the workers; the first that is told is kept.

        Args:
            fault: whose it is (`trainables.faults`); None from a worker that only repeats what another one will tell.

        Returns when the group is closed, so that the exception is known before the worker has gone.
        """
        if self._number == trial and self._failure is None and fault is not None:
            self._failure = {"failure": traceback, "fault": fault}
            await self._notify()
        await self._wait(lambda: self._closed)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(ready), timeout_s)
            except TimeoutError:
                return False
        return True


# A few calls wait at a time: the owner's, rank 0's, and after an exception one of each worker.
Mailbox = ray.remote(num_cpus=0, max_concurrency=10_000)(MailboxState)
