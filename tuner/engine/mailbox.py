"""The one actor through which assignments go down to worker groups and reports come up to their Tune actors.

Everything is keyed by (trial, step), so each message may be sent twice without harm: a worker that died after reporting resumes
from its checkpoint and reports the same step again; the second report finds the verdict already given, or waits for it.
The mailbox holds no CPU and no tensors.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import ray

MAX_DELIVERIES = 4  # of one assignment without a new report in between, before the trial is held to be at fault


@dataclass
class _Group:
    """One worker group's side of the mailbox."""

    number: int | None = None  # of the open trial
    assignment: bytes = b""  # the open trial, pickled
    deliveries: int = 0
    report: dict[str, Any] | None = None  # the newest
    verdict: tuple[int, int, str] | None = None  # (trial, step, verdict), the newest
    failure: str | None = None  # traceback of the open assignment
    closed: bool = False


@ray.remote(num_cpus=0, max_concurrency=1000)
class Mailbox:
    """Assignments, reports and verdicts, by worker group."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._changed = asyncio.Condition()

    # What a Tune actor calls.

    async def assign(self, group: str, number: int, assignment: bytes) -> None:
        """Hands the next trial to a group, whose previous trial must have ended.

        Args:
            assignment: pickled, so that the mailbox need not import what it passes on (torch alone would take seconds).
        """
        state = self._group(group)
        state.number, state.assignment, state.deliveries = number, assignment, 0
        state.report = state.verdict = state.failure = None
        await self._notify()

    async def receive(self, group: str, after_step: int, timeout_s: float) -> dict[str, Any] | None:
        """The open trial's report of a step beyond ``after_step``, or ``{"failure": traceback}``; None when the time is up."""

        def ready() -> bool:
            state = self._group(group)
            return state.failure is not None or (state.report is not None and state.report["step"] > after_step)

        if not await self._wait(ready, timeout_s):
            return None
        state = self._group(group)
        return {"failure": state.failure} if state.failure is not None else state.report

    async def decide(self, group: str, trial: int, step: int, verdict: str) -> None:
        """Answers the report of ``step``: the worker goes on, or ends the trial."""
        self._group(group).verdict = (trial, step, verdict)
        await self._notify()

    async def close(self, group: str) -> None:
        """No more trials for this group: its loop ends."""
        self._group(group).closed = True
        await self._notify()

    # What a worker group's rank 0 calls.

    async def next(self, group: str, finished: int | None) -> bytes | None:
        """Waits for the group's next trial, as `assign` was given it; None when there are no more.

        Args:
            finished: the trial that the caller has ended; None from a fresh process, which gets the open assignment again.
        """
        state = self._group(group)
        if finished is not None and state.number == finished:
            state.number = None
        await self._wait(lambda: state.closed or (state.number is not None and state.failure is None))
        if state.closed:
            return None
        state.deliveries += 1
        if state.deliveries > MAX_DELIVERIES:
            state.failure = f"the workers of this trial died {MAX_DELIVERIES} times without a new report (out of memory?)"
            await self._notify()
            return await self.next(group, finished)
        return state.assignment

    async def report(self, group: str, report: dict[str, Any]) -> str:
        """Hands up a report and waits for its verdict."""
        state = self._group(group)
        trial, step = report["number"], report["step"]
        if not report["resumed"] or state.report is None or state.report["step"] < step:
            state.report, state.deliveries = report, 1
            await self._notify()
        answered = self._answers(state, trial, step)
        await self._wait(lambda: state.closed or answered())
        return state.verdict[2] if answered() and state.verdict else "stop"

    async def fail(self, group: str, trial: int, traceback: str) -> None:
        """The open trial raised an exception on one of the workers; the first traceback is kept.

        Returns when the group is closed. A worker that raised meanwhile would have Train start the group anew, in a placement
        group that nobody knows of yet when this one's owner gives the group back.
        """
        state = self._group(group)
        if state.number == trial and state.failure is None:
            state.failure = traceback
            await self._notify()
        await self._wait(lambda: state.closed)

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    @staticmethod
    def _answers(state: _Group, trial: int, step: int) -> Any:
        return lambda: state.verdict is not None and state.verdict[0] == trial and state.verdict[1] >= step

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, ready: Any, timeout_s: float | None = None) -> bool:
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(ready), timeout_s)
            except TimeoutError:
                return False
        return True
