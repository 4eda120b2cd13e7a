"""Records on disk: written for every report, read back after kills and damage, never silently wrong."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.records.test_tables import diverged, refuse, report
from trainables.storage import Storage
from tuner.records.files import HEADER, REPORTS
from tuner.records.trials import Fault, RecordBook, State, TrialRecord

REASON = "best FID 80.0 is 2nd of 2"


def book(folder: Path) -> RecordBook:
    return RecordBook(Storage(folder))


def filled(folder: Path) -> RecordBook:
    """Trial 0 stopped after two reports and a diverged one, trial 1 running after one."""
    records = book(folder)
    records.open(0, {"backbone": "resnet18", "layers": ["a", "b"]})
    records.open(1, {"backbone": "vgg16", "layers": []})
    records.report(report(10, 80.0, 80.0))
    records.report(report(20, 85.0, 80.0))
    records.report(diverged(25, 80.0))
    records.report(report(10, 70.0, 70.0, number=1))
    records.end(0, State.STOPPED, REASON)
    return records


def texts(records: RecordBook) -> list[str]:
    return [str(record) for record in records.all()]


class TestReports:
    def test_each_is_on_disk_before_it_is_answered(self, tmp_path: Path) -> None:
        records = book(tmp_path)
        records.open(0, {})
        for step in (10, 20):
            assert records.report(report(step, 80.0, 80.0))
            assert texts(book(tmp_path)) == texts(records)

    def test_one_costs_a_line_however_long_the_trial(self, tmp_path: Path) -> None:
        records = book(tmp_path)
        records.open(0, {})
        sizes, headers = [], []
        for step in range(10, 1000, 10):
            records.report(report(step, 80.0, 80.0))
            sizes.append((tmp_path / "0000" / REPORTS).stat().st_size)
            headers.append((tmp_path / "0000" / HEADER).stat().st_mtime_ns)
        lines = [after - before for before, after in itertools.pairwise(sizes)]
        assert max(lines) - min(lines) < 20  # a longer number
        assert len(set(headers)) == 1

    def test_a_known_step_is_dropped(self, tmp_path: Path) -> None:
        records = book(tmp_path)
        records.open(0, {})
        assert records.report(report(10, 80.0, 80.0))
        size = (tmp_path / "0000" / REPORTS).stat().st_size
        for again in (report(10, 80.0, 80.0, resumed=True), report(10, 80.0, 80.0), report(5, 80.0, 80.0)):
            assert not records.report(again)
        assert (tmp_path / "0000" / REPORTS).stat().st_size == size

    def test_floats_that_are_not_finite_come_back_from_strict_json(self, tmp_path: Path) -> None:
        records = book(tmp_path)
        records.open(0, {"x": math.inf, "y": "inf"})
        losses = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}
        records.report(report(10, math.nan, math.inf, losses=losses, seconds_to_first_step=math.nan))
        for file in (tmp_path / "0000").iterdir():
            json.loads(file.read_text(), parse_constant=refuse)
        again = book(tmp_path)
        assert texts(again) == texts(records)
        assert again[0].values == {"x": math.inf, "y": "inf"}
        assert str(again[0].reports[0]["losses"]) == str(losses)
        assert again.ranking() == []

    def test_names_of_metrics_are_in_memory_once(self, tmp_path: Path) -> None:
        filled(tmp_path)
        names = [list(r["metrics"]) for record in book(tmp_path).all() for r in record.reports if "metrics" in r]
        assert len({id(name) for row in names for name in row}) == 2


class TestBook:
    def test_ranking_follows_every_report(self, tmp_path: Path) -> None:
        records = book(tmp_path)
        for number in (2, 0, 1, 3):
            records.open(number, {})
        for number, best in ((0, 50.0), (1, 40.0), (2, 50.0), (0, 30.0), (3, math.inf), (1, 45.0)):
            records.report(report(10 + 10 * len(records[number].reports), best, best, number=number))
            finite = [record for record in records.all() if math.isfinite(record.score_best)]
            assert records.ranking() == sorted(finite, key=lambda r: (r.score_best, r.number))
        assert [record.number for record in records.all()] == [0, 1, 2, 3]
        assert [record.number for record in records.first(3)] == [0, 1, 2]
        assert [record.number for record in records.first(9)] == [0, 1, 2, 3]
        assert [record.number for record in records.unranked()] == [3]

    def test_counts_and_unfinished(self, tmp_path: Path) -> None:
        records = filled(tmp_path)
        for view in (records, book(tmp_path)):
            assert view.counts == {State.RUNNING: 1, State.STOPPED: 1, State.COMPLETE: 0, State.FAILED: 0}
            assert view.unfinished() == [1]
        records.end(1, State.FAILED, "out of memory", Fault.CONFIGURATION)
        records.reopen(0)
        for view in (records, book(tmp_path)):
            assert view.counts == {State.RUNNING: 1, State.STOPPED: 0, State.COMPLETE: 0, State.FAILED: 1}
            assert view.unfinished() == [0]
            assert (view[0].state, view[0].reason, view[0].fault) == (State.RUNNING, "", None)
            assert view[1].fault is Fault.CONFIGURATION

    def test_attempts_are_counted_since_the_last_report(self, tmp_path: Path) -> None:
        records = filled(tmp_path)
        assert [records.attempt(1), records.attempt(1)] == [1, 2]
        assert book(tmp_path)[1].attempts == 2
        records.report(report(20, 65.0, 65.0, number=1))
        assert (records[1].attempts, book(tmp_path)[1].attempts) == (0, 0)
        assert records.attempt(1) == 1
        assert book(tmp_path)[1].attempts == 1
        assert records.reopen(1).attempts == book(tmp_path)[1].attempts == 0

    def test_a_snapshot_sees_nothing_that_comes_later(self, tmp_path: Path) -> None:
        records = filled(tmp_path)
        taken = records[1].snapshot()
        records.report(report(20, 65.0, 65.0, number=1))
        records.end(1, State.COMPLETE, "done")
        assert (taken.state, taken.reason, taken.score_best, taken.worker_seconds) == (State.RUNNING, "", 70.0, 2.5)

    def test_records_of_before_the_journal_are_read_and_moved(self, tmp_path: Path) -> None:
        records = filled(tmp_path)
        for record in records.all():
            (tmp_path / f"{record.number:04d}" / REPORTS).unlink()
            old = {
                key: getattr(record, key) for key in ("number", "values", "state", "reason", "reports", "seconds_to_first_step")
            }
            (tmp_path / f"{record.number:04d}" / HEADER).write_text(json.dumps(old, indent=1))
        again = book(tmp_path)
        assert texts(again) == texts(records)
        again.report(report(20, 60.0, 60.0, number=1))
        assert texts(book(tmp_path)) == texts(again)  # its header is still the old one
        again.end(1, State.COMPLETE, "done")
        assert texts(book(tmp_path)) == texts(again)
        assert '"reports"' not in (tmp_path / "0001" / HEADER).read_text()

    def test_remote_storage_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"must be a local or shared folder, but got mock://"):
            RecordBook(Storage("mock://bucket/trials"))


@pytest.fixture(params=["write", "torn", "truncate", "close", "header"])
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """Storage that is full while ``on`` is set: at once, after a part, without a chance to undo, at closing; or for headers."""
    switch = {"on": False}
    full = OSError(errno.ENOSPC, "No space left on device")
    write, truncate, close, header = os.pwrite, os.ftruncate, os.close, Storage.write_bytes

    def pwrite(file: int, data: bytes, at: int) -> int:
        if not switch["on"] or request.param in ("close", "header"):
            return write(file, data, at)
        if request.param != "write" and len(data) > 40:
            return write(file, data[:40], at)
        raise full

    def ftruncate(file: int, size: int) -> None:
        if switch["on"] and request.param == "truncate":
            raise OSError(errno.EIO, "Input/output error")
        truncate(file, size)

    def closing(file: int) -> None:
        close(file)
        if switch["on"] and request.param == "close":
            raise full

    def write_bytes(storage: Storage, name: str, data: bytes) -> None:
        if switch["on"]:
            raise full
        header(storage, name, data)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "ftruncate", ftruncate)
    monkeypatch.setattr(os, "close", closing)
    monkeypatch.setattr(Storage, "write_bytes", write_bytes)
    yield switch
    switch["on"] = False


class TestFullStorage:
    """An OSError changes nothing, and what failed may be tried again as often as it takes."""

    def test_report(self, tmp_path: Path, failing: dict[str, bool], request: pytest.FixtureRequest) -> None:
        records = filled(tmp_path)
        before = texts(records)
        new = report(20, 65.0, 65.0, number=1)
        failing["on"] = True
        if "header" not in request.node.name:
            for _ in range(3):
                with pytest.raises(OSError, match=r"No space|Input"):
                    records.report(new)
                assert texts(records) == before
                assert [r["step"] for r in book(tmp_path)[1].reports] in ([10], [10, 20])
        failing["on"] = False
        assert records.report(new)
        assert texts(book(tmp_path)) == texts(records)
        assert [r["step"] for r in records[1].reports] == [10, 20]

    def test_headers(self, tmp_path: Path, failing: dict[str, bool]) -> None:
        records = filled(tmp_path)
        before, ranking, counts = texts(records), records.ranking(), dict(records.counts)

        def changes() -> list[Any]:
            return [
                lambda: records.attempt(1),
                lambda: records.reopen(0),
                lambda: records.open(2, {}),
                lambda: records.end(1, State.COMPLETE, "done"),
            ]

        for change in changes():
            failing["on"] = True
            for _ in range(2):
                with pytest.raises(OSError, match="No space"):
                    change()
            failing["on"] = False
            assert (texts(records), records.ranking(), records.counts) == (before, ranking, counts)
            assert texts(book(tmp_path)) == before
        for change in changes():
            change()
        assert records[1].attempts == 1
        assert texts(book(tmp_path)) == texts(records)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    filled(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The trials of `filled`, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "trials"))


class TestDamage:
    """Whatever happens to a file: the record as it was (or as it was a moment earlier), or a message that names the file."""

    def read(self, folder: Path, number: int, file: str) -> TrialRecord | None:
        """What is read of a damaged trial; None when a message names its file."""
        path = str(folder / f"{number:04d}" / file)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                records = book(folder)
            except ValueError as error:
                refusal = str(error)
            else:
                refusal = ""
        if refusal:
            assert path in refusal
            return None
        assert 1 - number in records
        if number not in records:
            assert path in str(told[0].message)
            assert path in records.unknown[number]
            return None
        assert not told
        return records[number]

    def cuts_and_flips(self, folder: Path, number: int, file: str) -> Iterator[tuple[str, TrialRecord | None]]:
        path = folder / f"{number:04d}" / file
        raw = path.read_bytes()
        for size in range(len(raw)):
            path.write_bytes(raw[:size])
            yield f"cut at {size}", self.read(folder, number, file)
        for place in range(len(raw)):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :])
            yield f"flipped at {place}", self.read(folder, number, file)
        path.write_bytes(raw)

    @pytest.mark.parametrize("number", [0, 1])
    def test_header(self, folder: Path, number: int) -> None:
        whole = str(book(folder)[number])
        for what, record in self.cuts_and_flips(folder, number, HEADER):
            assert record is None or str(record) == whole, what

    def test_journal_of_a_trial_that_ended(self, folder: Path) -> None:
        whole = str(book(folder)[0])
        for what, record in self.cuts_and_flips(folder, 0, REPORTS):
            assert record is None or str(record) == whole, what

    def test_journal_of_a_trial_that_runs(self, folder: Path) -> None:
        """Its last line may be torn: the report of it was not answered, and comes again."""
        records = book(folder)
        records.report(report(20, 65.0, 65.0, number=1))
        whole = str(records[1])
        earlier = str(TrialRecord(1, records[1].values, reports=records[1].reports[:1], seconds_to_first_step=3.25))
        before = str(TrialRecord(1, records[1].values))
        for what, record in self.cuts_and_flips(folder, 1, REPORTS):
            assert record is None or str(record) in (whole, earlier, before), what

    def test_after_a_torn_line_the_journal_goes_on(self, folder: Path) -> None:
        path = folder / "0001" / REPORTS
        raw = path.read_bytes()
        records = book(folder)
        records.report(report(20, 65.0, 65.0, number=1))
        longer = path.read_bytes()
        for size in range(len(raw), len(longer)):
            path.write_bytes(longer[:size])
            again = book(folder)
            again.report(report(20, 65.0, 65.0, number=1, resumed=True))
            again.report(report(30, 60.0, 60.0, number=1))
            assert [r["step"] for r in book(folder)[1].reports] == [10, 20, 30]

    @pytest.mark.parametrize("file", [HEADER, REPORTS])
    def test_swapped_with_another_trial_s(self, folder: Path, file: str) -> None:
        first, second = folder / "0000" / file, folder / "0001" / file
        one, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(one)
        with pytest.raises(ValueError, match=r"damaged records of trials") as told:
            book(folder)
        assert f"{first} " in str(told.value)
        assert f"{second} " in str(told.value)
        assert "of trial 1, not of trial 0" in str(told.value)

    @pytest.mark.parametrize(
        "content",
        [b"[]", b"{}", b'{"reports": 3}', b'{"reports": [{}]}', b"\xff\xfe", b"[" * 100_000, b"\0" * 50],
        ids=["list", "object", "number", "reports", "bytes", "depth", "zeros"],
    )
    def test_something_else_instead_of_a_header(self, folder: Path, content: bytes) -> None:
        (folder / "0000" / HEADER).write_bytes(content)
        assert self.read(folder, 0, HEADER) is None

    def test_a_trial_whose_header_is_lost_is_taken_up_again_with_its_reports(self, folder: Path) -> None:
        whole = texts(book(folder))
        for number in (0, 1):
            (folder / f"{number:04d}" / HEADER).write_bytes(b"")
        with pytest.warns(RuntimeWarning, match=r"record.json is empty: trial \d is left out"):
            records = book(folder)
        assert sorted(records.unknown) == [0, 1]
        records.restore(0, {"backbone": "resnet18", "layers": ["a", "b"]}, State.STOPPED, REASON)
        records.open(1, {"backbone": "vgg16", "layers": []})
        assert records.unknown == {}
        assert texts(records) == texts(book(folder)) == whole

    def test_reports_that_somebody_cut_while_the_sweep_runs_are_written_anew(self, folder: Path) -> None:
        records = book(folder)
        path = folder / "0001" / REPORTS
        for size in (0, 10):
            os.truncate(path, size)
            records.report(report(10 * len(records[1].reports) + 10, 60.0, 60.0, number=1))
            assert texts(book(folder)) == texts(records)
        path.unlink()
        records.end(1, State.COMPLETE, "done")
        assert texts(book(folder)) == texts(records)
