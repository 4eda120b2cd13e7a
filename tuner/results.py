"""What a sweep leaves for machines to read: ``leaderboard.json`` while it runs, two Parquet tables at its end."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tuner.paths import SweepPaths
from tuner.records import RecordBook, TrialRecord


def leaderboard(records: RecordBook, metric: str) -> dict[str, Any]:
    """All trials, best first, then those without a finite FID; as JSON data."""
    ranked = records.ranking()
    rest = [record for record in records.all() if record not in ranked]
    rows = [_row(record, rank) for rank, record in enumerate([*ranked, *rest], start=1)]
    return {"metric": metric, "lower_is_better": True, "trials": rows}


def write_leaderboard(paths: SweepPaths, records: RecordBook, metric: str) -> None:
    """Writes ``leaderboard.json`` atomically."""
    paths.storage.write_bytes(paths.LEADERBOARD, json.dumps(leaderboard(records, metric), indent=1).encode())


def write_tables(paths: SweepPaths, records: RecordBook, metric: str) -> None:
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
    for name, rows in ((paths.TRIALS_TABLE, trials), (paths.HISTORY_TABLE, history)):
        buffer = io.BytesIO()
        columns = dict.fromkeys(key for row in rows for key in row)
        table = pa.table({column: [row.get(column) for row in rows] for column in columns})
        pq.write_table(table.replace_schema_metadata({"metric": metric}), buffer)
        paths.storage.write_bytes(name, buffer.getvalue())


def _row(record: TrialRecord, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "number": record.number,
        "state": record.state.value,
        "reason": record.reason,
        "fid_best": record.fid_best if record.reports and record.fid_best < float("inf") else None,
        "kimg": record.kimg,
        "worker_seconds": round(record.worker_seconds, 3),
        "seconds_to_first_step": record.seconds_to_first_step if record.reports else None,
        "values": record.values,
    }


def plain(value: Any) -> Any:
    """A searched value as a table's cell: lists of layers become "a+b"."""
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else value
