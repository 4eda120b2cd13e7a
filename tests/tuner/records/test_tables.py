"""Records, leaderboard and tables: what a sweep knows and leaves, read back as a stranger would."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.metrics import parse_any_metric
from tuner.records.paths import SweepPaths
from tuner.records.tables import leaderboard, write_leaderboard, write_tables
from tuner.records.trials import RecordBook, State

DRIVING = parse_any_metric("fid[efficientnet_lite0,32px-bilinear,n=8]")
METRIC = str(DRIVING)


def report(step: int, fid: float, score_best: float, **changes: Any) -> dict[str, Any]:
    """What a worker sends up after ``step``."""
    return {
        "number": 0,
        "step": step,
        "kimg": step * 0.032,
        "score": fid,
        "score_best": score_best,
        "metrics": {METRIC: fid, "kid[efficientnet_lite0,32px-bilinear,n=8]": fid / 1000},
        "losses": {"d_loss": 1.5, "g_loss": 0.5},
        "problem": None,
        "last": False,
        "resumed": False,
        "seconds_training": 2.0,
        "seconds_evaluating": 0.5,
        "seconds_to_first_step": 3.25,
    } | changes


def diverged(step: int, score_best: float = math.inf) -> dict[str, Any]:
    """What a worker sends up when the losses are not finite: no metrics, no evaluation."""
    whole = report(step, math.nan, score_best, losses={"d_loss": math.nan, "g_loss": 0.5}, problem="d_loss is nan by 0.03 kimg")
    return {key: value for key, value in whole.items() if key not in ("metrics", "seconds_evaluating")}


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    return SweepPaths(tmp_path / "sweep")


@pytest.fixture
def records(paths: SweepPaths) -> RecordBook:
    """Five trials: complete, stopped, diverged at once, failed after an evaluation, and one that runs."""
    book = RecordBook(paths.trials)
    layers: dict[int, list[str]] = {0: ["blocks.1", "blocks.2"], 1: [], 2: ["blocks.1"], 3: [], 4: []}
    for number in range(5):
        book.open(
            number, {"backbone": "efficientnet_lite0", "feature_loss.layers": layers[number], "optimizer.generator_lr": 1e-3}
        )
    for step, fid, best in ((10, 90.0, 90.0), (20, 95.0, 90.0), (30, 70.0, 70.0)):
        book[0].add(report(step, fid, best))
    book.end(0, State.COMPLETE, "reached its budget of images")
    book[1].add(report(10, 120.0, 120.0))
    book.end(1, State.STOPPED, "best FID 120.0 is 2nd of 2")
    book[2].add(diverged(5))
    book.end(2, State.FAILED, "d_loss is nan by 0.03 kimg")
    book[3].add(report(10, 80.0, 80.0))
    book[3].add(diverged(15, 80.0))
    book.end(3, State.FAILED, "d_loss is nan by 0.03 kimg")
    return book


class TestRecords:
    def test_are_mirrored_at_every_change_and_read_back_alike(self, paths: SweepPaths, records: RecordBook) -> None:
        again = RecordBook(paths.trials)
        assert [str(record) for record in again.all()] == [str(record) for record in records.all()]
        assert [record.state for record in again.all()] == [
            State.COMPLETE, State.STOPPED, State.FAILED, State.FAILED, State.RUNNING,
        ]  # fmt: skip
        assert math.isnan(again[2].reports[0]["score"])

    def test_ranking_is_by_best_and_keeps_the_checkpoints_of_failed_trials(self, records: RecordBook) -> None:
        assert [(r.number, r.score_best) for r in records.ranking()] == [(0, 70.0), (3, 80.0), (1, 120.0)]

    def test_ties_go_to_the_earlier_trial(self, paths: SweepPaths) -> None:
        book = RecordBook(paths.trials)
        for number in (1, 0):
            book.open(number, {})
            book[number].add(report(10, 50.0, 50.0))
        assert [r.number for r in book.ranking()] == [0, 1]

    def test_a_report_that_comes_again_after_a_resume_is_dropped(self, paths: SweepPaths, records: RecordBook) -> None:
        book = RecordBook(paths.trials)
        record = book.open(1, {})
        assert (record.state, record.reason) == (State.RUNNING, "")
        assert not record.add(report(10, 120.0, 120.0, resumed=True))
        assert record.add(report(20, 110.0, 110.0, resumed=True))
        assert [r["step"] for r in record.reports] == [10, 20]

    def test_a_report_lost_with_the_driver_is_taken_when_it_comes_again(self, paths: SweepPaths) -> None:
        record = RecordBook(paths.trials).open(0, {})
        assert record.add(report(10, 120.0, 120.0, resumed=True))
        assert record.seconds_to_first_step == 3.25

    def test_the_values_of_a_trial_taken_up_again_stay(self, paths: SweepPaths, records: RecordBook) -> None:
        book = RecordBook(paths.trials)
        assert book.open(4, {"backbone": "other"}).values["backbone"] == "efficientnet_lite0"

    def test_the_first_reason_stands(self, records: RecordBook) -> None:
        records.end(0, State.FAILED, "later")
        assert (records[0].state, records[0].reason) == (State.COMPLETE, "reached its budget of images")

    def test_before_any_report(self, paths: SweepPaths) -> None:
        record = RecordBook(paths.trials).open(7, {})
        assert (record.kimg, record.score_best, record.worker_seconds) == (0.0, math.inf, 0.0)

    def test_worker_seconds_count_training_and_evaluation(self, records: RecordBook) -> None:
        assert records[0].worker_seconds == 7.5
        assert records[3].worker_seconds == 4.5


class TestLeaderboard:
    def test_schema(self, paths: SweepPaths, records: RecordBook) -> None:
        write_leaderboard(paths, records, DRIVING)
        # Strict JSON, which knows no NaN and no infinity.
        board = json.loads((paths.folder / "leaderboard.json").read_text(), parse_constant=refuse)
        assert list(board) == ["metric", "lower_is_better", "trials"]
        assert (board["metric"], board["lower_is_better"]) == (METRIC, True)
        columns = ["rank", "number", "state", "reason", "best", "kimg", "worker_seconds", "seconds_to_first_step", "values"]
        assert [list(row) for row in board["trials"]] == [columns] * 5
        assert [(row["rank"], row["number"], row["best"]) for row in board["trials"]] == [
            (1, 0, 70.0), (2, 3, 80.0), (3, 1, 120.0), (4, 2, None), (5, 4, None),
        ]  # fmt: skip
        assert board["trials"][0]["values"]["feature_loss.layers"] == ["blocks.1", "blocks.2"]
        assert board["trials"][4]["seconds_to_first_step"] is None

    def test_is_the_same_after_a_reload(self, paths: SweepPaths, records: RecordBook) -> None:
        assert leaderboard(RecordBook(paths.trials), DRIVING) == leaderboard(records, DRIVING)


class TestTables:
    def test_trials(self, paths: SweepPaths, records: RecordBook) -> None:
        write_tables(paths, records, DRIVING)
        table = pq.read_table(paths.folder / "trials.parquet")
        assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
            "rank": "int64", "number": "int64", "state": "string", "reason": "string", "best": "double", "kimg": "double",
            "worker_seconds": "double", "seconds_to_first_step": "double", "value.backbone": "string",
            "value.feature_loss.layers": "string", "value.optimizer.generator_lr": "double",
        }  # fmt: skip
        assert table["number"].to_pylist() == [0, 3, 1, 2, 4]
        assert table["state"].to_pylist() == ["complete", "failed", "stopped", "failed", "running"]
        assert table["value.feature_loss.layers"].to_pylist() == ["blocks.1+blocks.2", "", "", "blocks.1", ""]
        assert table["best"].to_pylist() == [70.0, 80.0, 120.0, None, None]
        assert table.schema.metadata == {b"metric": METRIC.encode()}

    def test_history(self, paths: SweepPaths, records: RecordBook) -> None:
        write_tables(paths, records, DRIVING)
        table = pq.read_table(paths.folder / "history.parquet")
        assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
            "number": "int64", "step": "int64", "kimg": "double", "score": "double", "score_best": "double", "problem": "string",
            "seconds_training": "double", "seconds_evaluating": "double", f"metric.{METRIC}": "double",
            "metric.kid[efficientnet_lite0,32px-bilinear,n=8]": "double", "loss.d_loss": "double", "loss.g_loss": "double",
        }  # fmt: skip
        rows = list(zip(*(table[name].to_pylist() for name in ("number", "step")), strict=True))
        assert rows == [(0, 10), (0, 20), (0, 30), (1, 10), (2, 5), (3, 10), (3, 15)]
        assert table["problem"].to_pylist()[4] == "d_loss is nan by 0.03 kimg"
        assert math.isnan(table["score"].to_pylist()[4])
        assert table[f"metric.{METRIC}"].to_pylist() == [90.0, 95.0, 70.0, 120.0, None, 80.0, None]

    def test_how_much_of_the_generator_the_source_gave_is_kept(self, paths: SweepPaths) -> None:
        book = RecordBook(paths.trials)
        for number, share in enumerate((1.0, 0.216)):
            book.open(number, {}).add(report(10, 90.0, 90.0, source_share=share))
            book.save(number)
        write_tables(paths, RecordBook(paths.trials), DRIVING)
        assert pq.read_table(paths.folder / "history.parquet")["source_share"].to_pylist() == [1.0, 0.216]

    def test_the_columns_are_there_before_anything_has_happened(self, paths: SweepPaths) -> None:
        write_tables(paths, RecordBook(paths.trials), DRIVING)
        trials, history = (pq.read_table(paths.folder / f"{name}.parquet") for name in ("trials", "history"))
        assert trials.schema.field("reason").type == pa.string()
        assert history.schema.field("problem").type == pa.string()
        assert (trials.num_rows, history.num_rows) == (0, 0)

    @pytest.mark.parametrize(
        ("values", "kind", "column"),
        [
            ([64, None], "int64", [64, None]),
            ([1, 0.5], "double", [1.0, 0.5]),
            ([3, "all"], "string", ["3", "all"]),
            ([True, "auto"], "string", ["True", "auto"]),
            ([True, 2], "string", ["True", "2"]),
            ([True, None], "bool", [True, None]),
            ([["a", "b"], "c"], "string", ["a+b", "c"]),
        ],
    )
    def test_searched_values_of_any_kind(self, paths: SweepPaths, values: list[Any], kind: str, column: list[Any]) -> None:
        book = RecordBook(paths.trials)
        for number, value in enumerate(values):
            book.open(number, {"x": value})
        write_tables(paths, book, DRIVING)
        table = pq.read_table(paths.folder / "trials.parquet")
        assert str(table.schema.field("value.x").type) == kind
        assert table["value.x"].to_pylist() == column


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
