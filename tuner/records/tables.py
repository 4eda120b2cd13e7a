"""What a sweep leaves for machines to read: ``leaderboard.json`` while it runs, two Parquet tables at its end."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.scoring import Metric, score
from tuner.records.paths import SweepPaths
from tuner.records.text import plain
from tuner.records.trials import RecordBook, TrialRecord


def leaderboard(records: RecordBook, metric: Metric) -> dict[str, Any]:
    """All trials, best first, then those without a finite score; as JSON data."""
    ranked = [*records.ranking(), *records.unranked()]
    rows = [_row(record, metric) for record in ranked]
    return _heading(metric) | {"trials": [{"rank": rank} | row for rank, row in enumerate(rows, start=1)]}


def write_leaderboard(paths: SweepPaths, records: RecordBook, metric: Metric) -> None:
    """Writes ``leaderboard.json`` atomically."""
    board = Leaderboard(metric)
    for record in records.all():
        board.put(record)
    board.write(paths)


class Leaderboard:
    """`leaderboard` as text, a line for each trial, of which only those that change are made anew."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._rows: dict[int, tuple[tuple[bool, float, int], str]] = {}  # number → place among all, the row but for its rank

    def put(self, record: TrialRecord) -> None:
        """Takes in how a trial stands."""
        best = record.score_best
        place = (False, best, record.number) if math.isfinite(best) else (True, 0.0, record.number)
        self._rows[record.number] = place, json.dumps(_row(record, self.metric))[1:]

    def write(self, paths: SweepPaths) -> None:
        """Writes ``leaderboard.json`` atomically."""
        rows = (f'{{"rank": {rank}, {row}' for rank, (_, row) in enumerate(sorted(self._rows.values()), start=1))
        text = json.dumps(_heading(self.metric))[:-1] + ', "trials": [\n' + ",\n".join(rows) + "\n]}\n"
        paths.storage.write_bytes(paths.LEADERBOARD, text.encode())


def write_tables(paths: SweepPaths, records: RecordBook, metric: Metric) -> None:
    """Writes ``trials.parquet`` (a row for each trial) and ``history.parquet`` (a row for each evaluation)."""
    trials = [
        {key: value for key, value in row.items() if key != "values"}
        | {f"value.{path}": plain(value) for path, value in row["values"].items()}
        for row in leaderboard(records, metric)["trials"]
    ]
    history = [
        {"number": record.number}
        | {key: value for key, value in report.items() if not isinstance(value, dict)}
        | {f"metric.{name}": value for name, value in report.get("metrics", {}).items()}
        | {f"loss.{name}": value for name, value in report["losses"].items()}
        for record in records.all()
        for report in record.reports
    ]
    for name, rows, types in ((paths.TRIALS_TABLE, trials, _TRIALS), (paths.HISTORY_TABLE, history, _HISTORY)):
        buffer = io.BytesIO()
        pq.write_table(_table(rows, types).replace_schema_metadata({"metric": str(metric)}), buffer)
        paths.storage.write_bytes(name, buffer.getvalue())


# Columns that are always there, with their types whatever the rows hold: a sweep without failures reads like one with.
_TRIALS = {
    "rank": pa.int64(),
    "number": pa.int64(),
    "state": pa.string(),
    "reason": pa.string(),
    "best": pa.float64(),  # value of the driving metric
    "kimg": pa.float64(),
    "worker_seconds": pa.float64(),
    "seconds_to_first_step": pa.float64(),
}
_HISTORY = {
    "number": pa.int64(),
    "step": pa.int64(),
    "kimg": pa.float64(),
    "score": pa.float64(),
    "score_best": pa.float64(),
    "problem": pa.string(),
    "seconds_training": pa.float64(),
    "seconds_evaluating": pa.float64(),
}


def _table(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.Table:
    names = dict.fromkeys([*types, *(key for row in rows for key in row)])
    return pa.table({name: _column([row.get(name) for row in rows], types.get(name)) for name in names})


def _column(cells: list[Any], kind: pa.DataType | None) -> pa.Array:
    """A column; one of searched values of several types (a choice of 3 or "all") becomes text."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if len(kinds) > 1 and kinds != {int, float}:
        cells = [cell if cell is None else str(cell) for cell in cells]
    return pa.array(cells, kind)


def _heading(metric: Metric) -> dict[str, Any]:
    return {"metric": str(metric), "lower_is_better": metric.lower_is_better}


def _row(record: TrialRecord, metric: Metric) -> dict[str, Any]:
    return {
        "number": record.number,
        "state": record.state.value,
        "reason": record.reason,
        "best": _finite(score(metric, record.score_best)),
        "kimg": record.kimg,
        "worker_seconds": round(record.worker_seconds, 3),
        "seconds_to_first_step": _finite(record.seconds_to_first_step),
        "values": record.values,
    }


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if math.isfinite(value) else None
