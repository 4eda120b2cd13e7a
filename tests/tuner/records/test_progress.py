"""What a person sees while a sweep runs."""

from __future__ import annotations

import math
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.tuner.records.test_tables import DRIVING, METRIC, diverged, report
from trainables.storage import Storage
from tuner.records.progress import Progress, table
from tuner.records.text import shown
from tuner.records.trials import RecordBook, State


@pytest.fixture
def records(tmp_path: Path) -> RecordBook:
    return RecordBook(Storage(tmp_path))


def console(*, terminal: bool = False) -> Console:
    return Console(file=StringIO(), width=140, force_terminal=terminal)


def text(where: Console) -> str:
    assert isinstance(where.file, StringIO)
    return where.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.567, "1234.6"),
        (10.04, "10.0"),
        (9.876, "9.88"),
        (0.0123, "0.0123"),
        (-0.0012, "-0.0012"),
        (math.inf, "-"),
        (math.nan, "-"),
    ],
)
def test_values(value: float, text: str) -> None:
    assert shown(value) == text


def test_one_line_for_each_event_where_there_is_no_terminal(records: RecordBook) -> None:
    out = console()
    with Progress(out, records, 3, None, DRIVING) as progress:
        record = records.open(
            0, {"feature_loss.layers": ("blocks.1", "blocks.2"), "optimizer.generator_lr": 0.000123456, "x": []}
        )
        progress.started(record)
        record.add(report(10, 95.25, 90.0))
        progress.reported(record)
        records.end(0, State.STOPPED, "best FID 90.0 is 2nd of 2")
        progress.ended(record)
        record = records.open(0, {})
        progress.started(record)
    lines = [line.split(maxsplit=1)[1] for line in text(out).splitlines()]
    assert lines == [
        "trial   0  starts: feature_loss.layers=blocks.1+blocks.2, optimizer.generator_lr=0.000123, x=none",
        "trial   0  0.32 kimg  FID 95.2  best 90.0",
        "trial   0  stopped: best FID 90.0 is 2nd of 2",
        "trial   0  goes on: feature_loss.layers=blocks.1+blocks.2, optimizer.generator_lr=0.000123, x=none",
    ]


def test_a_diverged_trial_has_one_line_with_the_cause(records: RecordBook) -> None:
    out = console()
    with Progress(out, records, 3, None, DRIVING) as progress:
        record = records.open(0, {})
        record.add(diverged(5))
        progress.reported(record)
        records.end(0, State.FAILED, "d_loss is nan by 0.03 kimg")
        progress.ended(record)
    assert [line.split(maxsplit=1)[1] for line in text(out).splitlines()] == ["trial   0  failed: d_loss is nan by 0.03 kimg"]


def test_the_table_is_ranked_and_says_why(records: RecordBook) -> None:
    for number, fid in ((0, 120.0), (1, 80.0)):
        records.open(number, {"optimizer.generator_lr": 1e-3}).add(report(10, fid, fid))
    records.end(0, State.STOPPED, "best FID 120.0 is 2nd of 2")
    records.open(2, {})
    out = console()
    out.print(table(records, DRIVING))
    rows = [line.split() for line in text(out).splitlines()]
    assert [row[:5] for row in rows if row and row[0].isdigit()] == [
        ["1", "0.32", "80.0", "80.0", "running"],
        ["0", "0.32", "120.0", "120.0", "stopped"],
        ["2", "0.00", "-", "-", "running"],
    ]
    assert METRIC in text(out)
    assert "best FID 120.0 is 2nd of 2" in text(out)


def test_a_long_table_keeps_the_trials_that_run(records: RecordBook) -> None:
    for number in range(30):
        records.open(number, {}).add(report(10, 100.0 + number, 100.0 + number))
        records.end(number, State.STOPPED, "")
    records.open(30, {})
    out = console()
    out.print(table(records, DRIVING, limit=20))
    numbers = [int(row[0]) for line in text(out).splitlines() if (row := line.split()) and row[0].isdigit()]
    assert numbers == [*range(20), 30]
    assert "… and 10 more" in text(out)


def test_a_long_table_shows_few_of_many_that_run(records: RecordBook) -> None:
    for number in range(100):
        records.open(number, {})
        records.report(report(10, 200.0 - number, 200.0 - number, number=number))
    out = console()
    out.print(table(records, DRIVING, limit=5))
    numbers = [int(row[0]) for line in text(out).splitlines() if (row := line.split()) and row[0].isdigit()]
    assert numbers == [99, 98, 97, 96, 95, 0, 1, 2, 3, 4]
    assert "… and 90 more" in text(out)


def test_a_trial_that_is_left_for_now_is_not_said_to_have_ended(records: RecordBook) -> None:
    out = console()
    with Progress(out, records, 3, None, DRIVING) as progress:
        progress.ended(records.open(0, {}))
    assert [line.split(maxsplit=1)[1] for line in text(out).splitlines()] == [
        "trial   0  is left for now, to go on from its checkpoint"
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_concerns_the_sweep_as_a_whole_is_told(records: RecordBook, terminal: bool) -> None:
    out = console(terminal=terminal)
    with Progress(out, records, 3, None, DRIVING) as progress:
        progress.message("the storage is full [/mnt/sweeps]: waiting")
        progress.waiting(None)
        progress.waiting("2 worker groups waiting for 30 s")
    assert "the storage is full [/mnt/sweeps]: waiting" in text(out)
    assert "2 worker groups waiting for 30 s" in text(out)


class TestSummary:
    def test_counts_and_time_left(self, records: RecordBook) -> None:
        progress = Progress(console(), records, 5, None, DRIVING)
        assert progress.summary().startswith("0/5 trials ended  ·  0:00 gone")
        assert "left" not in progress.summary().split("Ctrl-C")[0]
        records.open(0, {})
        records.end(0, State.STOPPED, "")
        progress.started_at = time.time() - 60
        assert "1/5 trials ended  ·  1:00 gone  ·  about 4:00 left" in progress.summary()

    def test_trials_of_earlier_runs_took_none_of_this_run_s_time(self, records: RecordBook) -> None:
        for number in range(3):
            records.open(number, {})
            records.end(number, State.STOPPED, "")
        progress = Progress(console(), records, 5, None, DRIVING)
        progress.started_at = time.time() - 60
        assert "about" not in progress.summary()
        records.open(3, {})
        records.end(3, State.STOPPED, "")
        assert "4/5 trials ended  ·  1:00 gone  ·  about 1:00 left" in progress.summary()

    def test_wall_time_bounds_what_is_left(self, records: RecordBook) -> None:
        progress = Progress(console(), records, 500, time.time() + 90, DRIVING)
        records.open(0, {})
        records.end(0, State.STOPPED, "")
        progress.started_at = time.time() - 3600
        assert "1:00:00 gone  ·  about 1:30 left" in progress.summary()


def test_a_terminal_gets_a_live_table(records: RecordBook) -> None:
    out = console(terminal=True)
    with Progress(out, records, 3, None, DRIVING) as progress:
        progress.started(records.open(0, {"x": 1}))
    assert "0/3 trials ended" in text(out)
    assert "starts" not in text(out)
