"""The mailbox by itself: late messages of a trial that is over reach nobody, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from tuner.engine.mailbox import MailboxState

WAIT_S = 0.05


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 10))


def report(number: int, step: int) -> dict[str, Any]:
    return {"number": number, "step": step}


def test_a_report_of_the_trial_before_is_answered_and_never_passed_on() -> None:
    """Trial 1's worker reports as its trial is stopped and trial 2 is handed over."""

    async def story() -> None:
        mailbox = MailboxState()
        await mailbox.assign(1, b"one")
        assert await mailbox.next(None) == b"one"
        late = asyncio.create_task(mailbox.report(report(1, 10)))
        await asyncio.sleep(0)
        await mailbox.assign(2, b"two")
        assert await mailbox.receive(-1, WAIT_S) is None, "trial 2 has not reported"
        assert await late == "stop"
        assert await mailbox.report(report(1, 20)) == "stop"
        assert await mailbox.receive(-1, WAIT_S) is None
        assert await mailbox.next(1) == b"two"
        waiting = asyncio.create_task(mailbox.report(report(2, 5)))
        assert await mailbox.receive(-1, 5) == report(2, 5)
        await mailbox.decide(2, 5, "continue")
        assert await waiting == "continue"

    run(story())


def test_a_verdict_on_another_trial_answers_nobody() -> None:
    async def story() -> None:
        mailbox = MailboxState()
        await mailbox.assign(1, b"one")
        waiting = asyncio.create_task(mailbox.report(report(1, 10)))
        await mailbox.decide(0, 10, "stop")
        await mailbox.decide(1, 5, "stop")
        await asyncio.sleep(WAIT_S)
        assert not waiting.done()
        await mailbox.decide(1, 10, "continue")
        assert await waiting == "continue"

    run(story())


def test_the_first_failure_is_kept_and_a_repetition_of_it_waits_to_the_end() -> None:
    async def story() -> None:
        mailbox = MailboxState()
        await mailbox.assign(1, b"one")
        told = [
            asyncio.create_task(mailbox.fail(*failure))
            for failure in ((1, "repeated", None), (1, "first", "configuration"), (1, "second", "infrastructure"))
        ]
        assert await mailbox.receive(-1, 5) == {"failure": "first", "fault": "configuration"}
        assert not any(task.done() for task in told)
        await mailbox.close()
        await asyncio.gather(*told)
        assert await mailbox.next(None) is None

    run(story())


def test_a_failure_of_a_trial_that_is_over_is_not_the_next_ones() -> None:
    async def story() -> None:
        mailbox = MailboxState()
        await mailbox.assign(2, b"two")
        late = asyncio.create_task(mailbox.fail(1, "late", "configuration"))
        assert await mailbox.receive(-1, WAIT_S) is None
        await mailbox.close()
        await late

    run(story())
