"""What a report costs does not grow with the sweep: counted, not timed, with the parts that `driver_scale` times."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from tests.benchmarks.driver_scale import Sweep, curve
from tests.tuner.records.test_tables import DRIVING, report
from trainables.storage import Storage
from tuner.engine import searcher as searching
from tuner.records.progress import Progress
from tuner.records.trials import RecordBook


class Counted:
    """Counts Python's calls on this thread, and bytes that are appended to files, inside a ``with`` block."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()  # by file
        self.bytes = self.files = 0
        self._monkeypatch = monkeypatch

    def __enter__(self) -> Counted:
        write, replace = os.pwrite, Storage.write_bytes

        def pwrite(file: int, data: bytes, at: int) -> int:
            self.bytes += len(data)
            return write(file, data, at)

        def write_bytes(storage: Storage, name: str, data: bytes) -> None:
            self.files += 1
            replace(storage, name, data)

        self._monkeypatch.setattr(os, "pwrite", pwrite)
        self._monkeypatch.setattr(Storage, "write_bytes", write_bytes)
        sys.setprofile(self._count)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)
        self._monkeypatch.undo()

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            self.calls[Path(frame.f_code.co_filename).name] += 1


def of_one_report(folder: Path, trials: int, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """What the third report of the middle one of ``trials`` trials costs the driver, all of which run and have reported twice."""
    monkeypatch.setattr(searching, "sampler", lambda seed, number: optuna.samplers.RandomSampler(number))
    sweep, best = Sweep(folder, trials, "none"), dict[int, float]()
    sweep.callback.log.every_s = 1e9  # its thread must not count
    running = [sweep.start(f"trial-{number}") for number in range(trials)]
    for trial in [*running, *running]:
        assert sweep.take(trial, curve(sweep.names, trial, best))
    middle = running[trials // 2]
    new = curve(sweep.names, middle, best)
    with Counted(monkeypatch) as counted:
        assert sweep.take(middle, new)
    sweep.callback.log.close()
    sweep.terminal.close()
    return counted


def test_a_report_costs_the_same_among_10_trials_and_among_400(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (of_one_report(tmp_path / str(trials), trials, monkeypatch) for trials in (10, 400))
    assert few.calls == many.calls
    assert few.bytes > 0
    assert abs(many.bytes - few.bytes) < 100  # longer numbers
    assert few.files == many.files == 0


def test_the_display_costs_what_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(trials: int) -> int:
        records = RecordBook(Storage(tmp_path / str(trials)))
        for number in range(trials):
            records.open(number, {"x": 1})
            records.report(report(10, 500.0 - number % 7, 500.0 - number % 7, number=number))
        progress = Progress(Console(quiet=True), records, trials, None, DRIVING)
        with Counted(monkeypatch) as counted:
            progress._render()
        return sum(counted.calls[file] for file in ("progress.py", "trials.py", "record.py", "text.py"))

    assert shown(50) == pytest.approx(shown(1000), rel=0.1)
