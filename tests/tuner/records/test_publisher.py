"""What people read while a sweep runs: written in batches by one thread, nothing lost when the storage fails for a while."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.records.test_tables import DRIVING, METRIC, diverged, refuse, report
from tests.tuner.records.test_tensorboard import VALUES, points, preview, read
from trainables.checkpoint import preview_name
from tuner.records.paths import SweepPaths
from tuner.records.publisher import Publisher
from tuner.records.tables import leaderboard
from tuner.records.trials import RecordBook, State, TrialRecord


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path / "sweep")


@pytest.fixture
def records(paths: SweepPaths) -> RecordBook:
    return RecordBook(paths.trials)


@pytest.fixture
def publisher(paths: SweepPaths, records: RecordBook) -> Iterator[Publisher]:
    publisher = Publisher(paths, records, DRIVING, every_s=0.01)
    yield publisher
    publisher.close()


def evaluate(paths: SweepPaths, publisher: Publisher, records: RecordBook, number: int, step: int, fid: float) -> None:
    preview(paths, number, step, (step % 256, number, 0))
    assert records.report(report(step, fid, min(fid, records[number].score_best), number=number))
    publisher.reported(records[number])


def begin(publisher: Publisher, records: RecordBook, number: int) -> None:
    publisher.started(records.open(number, VALUES))


def board(paths: SweepPaths) -> dict[str, Any]:
    return json.loads((paths.folder / "leaderboard.json").read_text(), parse_constant=refuse)


def until(condition: Any, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_sweep_as_it_is_read_afterwards(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    for number in (0, 1):
        begin(publisher, records, number)
    for step, fid in ((10, 100.0), (20, 90.0), (30, 95.0)):
        evaluate(paths, publisher, records, 0, step, fid)
    records.report(diverged(5) | {"number": 1})
    publisher.reported(records[1])
    records.end(0, State.COMPLETE, "reached its budget of images")
    publisher.ended(records[0])
    publisher.close()
    assert board(paths) == json.loads(json.dumps(leaderboard(records, DRIVING)))
    events = read(paths, 0)
    assert points(events, f"best/{METRIC}") == [(320, 100.0), (640, 90.0), (960, 90.0)]
    assert points(events, "time/worker_seconds") == [(320, 2.5), (640, 5.0), (960, 7.5)]
    assert [event.step for event in events.Images("samples")] == [320, 640, 960]
    (outcome,) = events.Tensors("outcome/text_summary")
    assert outcome.tensor_proto.string_val[0].decode() == "complete: reached its budget of images"
    assert set(read(paths, 1).Tags()["scalars"]) == {"loss/d_loss", "loss/g_loss", "time/worker_seconds"}


def test_both_are_there_while_the_sweep_runs(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    begin(publisher, records, 0)
    until(lambda: (paths.folder / "leaderboard.json").exists() and paths.tensorboard(0).exists())
    assert board(paths)["trials"][0]["best"] is None
    evaluate(paths, publisher, records, 0, 10, 50.0)
    until(lambda: board(paths)["trials"][0]["best"] == 50.0)
    assert points(read(paths, 0), f"metric/{METRIC}") == [(320, 50.0)]


def test_trials_of_earlier_runs_are_in_the_leaderboard(paths: SweepPaths, records: RecordBook) -> None:
    begin(Publisher(paths, records, DRIVING), records, 0)
    records.report(report(10, 80.0, 80.0))
    again = RecordBook(paths.trials)
    publisher = Publisher(paths, again, DRIVING)
    begin(publisher, again, 1)
    publisher.close()
    assert [(row["number"], row["best"]) for row in board(paths)["trials"]] == [(0, 80.0), (1, None)]


def test_a_trial_that_goes_on_in_another_group_has_one_log(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    begin(publisher, records, 0)
    evaluate(paths, publisher, records, 0, 10, 50.0)
    publisher.ended(records[0])  # for Tune alone
    begin(publisher, records, 0)
    evaluate(paths, publisher, records, 0, 20, 40.0)
    publisher.close()
    assert points(read(paths, 0), f"metric/{METRIC}") == [(320, 50.0), (640, 40.0)]
    assert len(list(paths.tensorboard(0).iterdir())) == 1
    assert "outcome/text_summary" not in read(paths, 0).Tags()["tensors"]


def test_nobody_is_waited_for_and_no_file_stays_open(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    """One thread and no open file, however many trials."""
    threads, files = threading.active_count(), set(os.listdir("/proc/self/fd"))
    for number in range(50):
        begin(publisher, records, number)
        evaluate(paths, publisher, records, number, 10, 50.0 + number)
    assert threading.active_count() <= threads + 1
    until(lambda: len(list(paths.tensorboard().glob("*"))) == 50)
    publisher.close()
    assert threading.active_count() == threads
    assert len(set(os.listdir("/proc/self/fd")) - files) <= 1  # that of the listing itself


@pytest.mark.parametrize("broken", ["missing", "empty", "no picture"])
def test_numbers_do_not_depend_on_the_preview(paths: SweepPaths, records: RecordBook, publisher: Publisher, broken: str) -> None:
    begin(publisher, records, 0)
    content = {"empty": b"", "no picture": b"GIF89a" * 9}.get(broken)
    if content is not None:
        paths.trial(0).write_bytes(preview_name(10), content)
    records.report(report(10, 50.0, 50.0))
    publisher.reported(records[0])
    publisher.close()
    events = read(paths, 0)
    assert points(events, f"metric/{METRIC}") == [(320, 50.0)]
    assert events.Tags()["images"] == []
    assert publisher.trouble is None


def test_a_full_storage_is_told_and_nothing_is_lost(
    paths: SweepPaths, records: RecordBook, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes, at: int) -> int:
        if len(data) > 100:
            return write(file, data[:100], at)  # a part, as a disk that fills up takes
        raise OSError(errno.ENOSPC, "No space left on device")

    begin(publisher, records, 0)
    evaluate(paths, publisher, records, 0, 10, 50.0)
    until(lambda: paths.tensorboard(0).exists())
    preview(paths, 0, 20, (1, 1, 1))
    records.report(report(20, 40.0, 40.0))
    records.end(0, State.COMPLETE, "done")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    publisher.reported(records[0])
    publisher.ended(records[0])
    until(lambda: publisher.trouble is not None)
    assert "wait for the storage: [Errno 28] No space left on device" in str(publisher.trouble)
    until(lambda: board(paths)["trials"][0]["state"] == "complete")  # the one does not wait for the other
    with pytest.raises(OSError, match="No space left"):
        publisher.close()
    monkeypatch.setattr(os, "pwrite", write)
    publisher.close()
    assert publisher.trouble is None
    events = read(paths, 0)
    assert points(events, f"metric/{METRIC}") == [(320, 50.0), (640, 40.0)]
    assert len(events.Tensors("outcome/text_summary")) == 1
    assert len(list(paths.tensorboard(0).iterdir())) == 1


def test_what_is_wrong_with_one_report_costs_no_other(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    begin(publisher, records, 0)
    records.report(report(10, 50.0, 50.0, losses={"d_loss": "high"}))
    publisher.reported(records[0])
    evaluate(paths, publisher, records, 0, 20, 40.0)
    publisher.close()
    assert "lacks something of trial 0" in str(publisher.trouble)
    assert points(read(paths, 0), f"metric/{METRIC}") == [(640, 40.0)]


def test_events_somebody_deleted_begin_anew(paths: SweepPaths, records: RecordBook, publisher: Publisher) -> None:
    begin(publisher, records, 0)
    until(lambda: paths.tensorboard(0).exists() and any(paths.tensorboard(0).iterdir()))
    (file,) = paths.tensorboard(0).iterdir()
    file.unlink()
    evaluate(paths, publisher, records, 0, 20, 40.0)
    publisher.close()
    assert list(paths.tensorboard(0).iterdir()) == [file]
    assert points(read(paths, 0), f"metric/{METRIC}") == [(640, 40.0)]


def test_files_that_are_another_driver_s_by_now_are_left_alone(
    paths: SweepPaths, records: RecordBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    ours = True
    publisher = Publisher(paths, records, DRIVING, every_s=0.01, allowed=lambda: ours)
    begin(publisher, records, 0)
    until(lambda: paths.tensorboard(0).exists() and (paths.folder / "leaderboard.json").exists())
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    publisher.started(TrialRecord(1, VALUES))  # waits for the storage
    until(lambda: publisher.trouble is not None)
    ours = False
    monkeypatch.setattr(os, "pwrite", write)
    assert records.report(report(10, 50.0, 50.0))
    publisher.reported(records[0])
    publisher.close()
    assert [file.stat().st_size for file in paths.tensorboard(1).iterdir()] == [0]
    assert all(row["best"] is None for row in board(paths)["trials"])
