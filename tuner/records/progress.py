"""What the user sees while a sweep runs: a live table on a terminal, one line for each event elsewhere."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainables.scoring import Metric, label, score
from tuner.records.text import show, shown
from tuner.records.trials import RecordBook, State, TrialRecord

_STYLES = {State.RUNNING: "cyan", State.COMPLETE: "green", State.STOPPED: "yellow", State.FAILED: "red"}
_ROWS = 20


class Progress:
    """The state of a sweep for a person to read. Use as a context manager.

    Args:
        trials: number of trials of the whole sweep.
        deadline: `time.time()` at which the sweep's wall time is used up; None for no limit.
        metric: what ranks the trials.
    """

    def __init__(self, console: Console, records: RecordBook, trials: int, deadline: float | None, metric: Metric) -> None:
        self.console = console
        self.records, self.trials, self.deadline, self.metric = records, trials, deadline, metric
        self.started_at = time.time()
        self._ended_before = self._ended()
        self._live = (
            Live(console=self.console, refresh_per_second=2, get_renderable=self._render) if self.console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def waiting(self, reason: str | None) -> None:
        """Worker groups cannot be placed for now, or None: nothing new is known of that."""
        if reason is not None:
            self.message(reason)

    def message(self, text: str) -> None:
        """Something that the user must know of the sweep as a whole: of the storage, of failures in a row."""
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False, soft_wrap=True)

    def started(self, record: TrialRecord) -> None:
        """A trial begins, or goes on."""
        verb = "goes on" if record.reports else "starts"
        values = ", ".join(f"{path}={show(value)}" for path, value in record.values.items())
        self._line(record, f"{verb}: {values}" if values else verb)

    def reported(self, record: TrialRecord) -> None:
        """A trial was evaluated."""
        report = record.reports[-1]
        if report["problem"] is None:
            value, best = (shown(score(self.metric, s)) for s in (report["score"], record.score_best))
            self._line(record, f"{record.kimg:.2f} kimg  {label(self.metric)} {value}  best {best}")

    def ended(self, record: TrialRecord) -> None:
        """A trial is over, or will go on later."""
        over = record.state != State.RUNNING
        self._line(record, f"{record.state.value}: {record.reason}" if over else "is left for now, to go on from its checkpoint")

    def _line(self, record: TrialRecord, text: str) -> None:
        if not self._live:
            self.message(f"trial {record.number:>3}  {text}")

    def _render(self) -> Group:
        return Group(table(self.records, self.metric, limit=_ROWS), Text(self.summary(), style="dim"))

    def summary(self) -> str:
        """Trials done, time gone and, once a trial has ended, an estimate of the time left."""
        ended, elapsed = self._ended(), time.time() - self.started_at
        parts = [f"{ended}/{self.trials} trials ended", f"{_clock(elapsed)} gone"]
        done_now = ended - self._ended_before
        if done_now > 0:
            left = elapsed / done_now * max(0, self.trials - ended)
            if self.deadline is not None:
                left = min(left, max(0.0, self.deadline - time.time()))
            parts.append(f"about {_clock(left)} left")
        return "  ·  ".join(parts) + "  ·  Ctrl-C leaves it resumable"

    def _ended(self) -> int:
        return len(self.records) - self.records.counts[State.RUNNING]


def table(records: RecordBook, metric: Metric, limit: int | None = None) -> Table:
    """The trials, best first; those without a score come last. Beyond ``limit`` rows follow as many at most of those that run."""
    visible = records.first(len(records) if limit is None else limit)
    if limit is not None:
        shown_first = {record.number for record in visible}
        later = (number for number in records.unfinished() if number not in shown_first)
        visible += [records[number] for number in itertools.islice(later, limit)]
    better = "lower" if metric.lower_is_better else "higher"
    view = Table(title=Text(f"trials by their best {metric} ({better} is better)"), title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("trial", "kimg", label(metric), "best"):
        view.add_column(column, justify="right", no_wrap=True)
    view.add_column("state", no_wrap=True)
    view.add_column("searched values; why it ended")
    if len(visible) < len(records):
        view.caption, view.caption_justify = f"… and {len(records) - len(visible)} more", "left"
    for record in visible:
        last: dict[str, Any] = record.reports[-1] if record.reports else {}
        view.add_row(
            str(record.number),
            f"{record.kimg:.2f}",
            shown(score(metric, last.get("score", math.nan))),
            shown(score(metric, record.score_best)),
            Text(record.state.value, style=_STYLES[record.state]),
            Text(brief(record)) + Text(f"\n{record.reason}" if record.reason else "", style="dim"),
        )
    return view


def brief(record: TrialRecord) -> str:
    """A trial's searched values, each under the last part of its path."""
    return " ".join(f"{path.rpartition('.')[2]}={show(value)}" for path, value in record.values.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
