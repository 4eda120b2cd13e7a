"""``gansweep show`` and ``list``: how sweeps stand, read from their folders, without Ray and torch so as to answer at once."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.commands.terminal import counted, fail, print_json
from tuner.commands.use import quoted
from tuner.engine.lease import driver_of
from tuner.records.overview import Overview, overview
from tuner.records.paths import SweepPaths, load_paths
from tuner.records.progress import table
from tuner.records.record import State
from tuner.records.text import shown
from tuner.records.trials import RecordBook


def run(sweep: Path, rows: int, *, as_json: bool) -> None:
    """`gansweep show`."""
    console = Console(markup=False, highlight=False)
    try:
        paths = load_paths(sweep)
        found, driver = overview(paths), driver_of(paths.folder / paths.LEASE)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            records = RecordBook(paths.trials)
        finalists = _finalists(paths)
    except ValueError as error:
        fail(error)
    if as_json:
        cost = {"worker_hours": sum(record.worker_seconds for record in records.all()) / 3600, "kimg": _kimg(records)}
        print_json(found.as_json() | {"driver": driver, "finalists": finalists} | cost)
        return
    console.print(f"sweep {found.name}: {paths.folder}", soft_wrap=True)
    console.print(f"{_state(found, driver)}; {_trials(found, records)}", soft_wrap=True)
    for warning in caught:
        console.print(f"warning: {warning.message}", soft_wrap=True)
    if found.metric is not None and len(records):
        console.print(table(records, found.metric, limit=rows))
    if finalists and finalists.get("finalists"):
        scored = (f"trial {row['trial']} {shown(row['value'])}" for row in finalists["finalists"] if row["value"] is not None)
        console.print(f"finalists by {finalists['metric']}: {', '.join(scored)}", soft_wrap=True)
    for folder in found.exports:
        console.print(f"exported: {folder}", soft_wrap=True)
    for line in _next(found, driver, paths):
        console.print(line, soft_wrap=True)


def list_sweeps(folder: Path, *, as_json: bool) -> None:
    """`gansweep list`. Exit code 1: a sweep's files could not be read, and it is named."""
    if not folder.is_dir():
        fail(f"there is no folder {folder}: name the one that the specs call storage")
    rows: list[tuple[float, Overview, str | None]] = []
    problems: list[str] = []
    for file in folder.glob(f"*/{SweepPaths.SPEC}"):
        paths = SweepPaths(file.parent)
        try:
            rows.append((_changed(paths), overview(paths), driver_of(paths.folder / paths.LEASE)))
        except ValueError as error:
            problems.append(str(error))
    rows.sort(key=lambda row: row[0], reverse=True)
    if as_json:
        print_json([found.as_json() | {"driver": driver, "changed": changed} for changed, found, driver in rows])
    elif rows:
        Console().print(_table(rows))
    elif not problems:
        print(f"no sweeps in {folder}")
    if problems:
        fail("\n".join(problems), code=1)


def _table(rows: list[tuple[float, Overview, str | None]]) -> Table:
    view = Table(box=box.SIMPLE_HEAD)
    view.add_column("sweep", overflow="fold")
    view.add_column("state", no_wrap=True)
    view.add_column("trials", justify="right", no_wrap=True)
    view.add_column("best", justify="right", no_wrap=True)
    view.add_column("metric", overflow="fold")
    view.add_column("changed", no_wrap=True)
    for changed, found, driver in rows:
        view.add_row(
            Text(found.folder.name),
            "running" if driver else "done" if found.is_done else "left",
            f"{found.ended}/{found.trials}",
            shown(found.best),
            Text(str(found.metric or "")),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(changed)),
        )
    return view


def _changed(paths: SweepPaths) -> float:
    """When the sweep last wrote its leaderboard, or else its spec."""
    board = paths.folder / paths.LEADERBOARD
    return (board if board.exists() else paths.folder / paths.SPEC).stat().st_mtime


def _state(found: Overview, driver: str | None) -> str:
    if driver:
        return f"running: {driver}"
    return "done" if found.is_done else "nobody runs it"


def _trials(found: Overview, records: RecordBook) -> str:
    parts = [f"{count} {state.value}" for state, count in records.counts.items() if count]
    hours = sum(record.worker_seconds for record in records.all()) / 3600
    told = f"{len(records)} of {counted(found.trials, 'trial')}"
    return f"{told} ({', '.join(parts) or 'none yet'}); {_kimg(records):.1f} kimg in {hours:.2f} worker-hours"


def _kimg(records: RecordBook) -> float:
    return sum(record.kimg for record in records.all())


def _finalists(paths: SweepPaths) -> dict[str, Any] | None:
    if not paths.storage.exists(paths.FINALISTS):
        return None
    try:
        data = json.loads(paths.storage.read_bytes(paths.FINALISTS))
        return data if isinstance(data, dict) else None
    except ValueError as error:
        raise ValueError(f"{paths.folder / paths.FINALISTS} is damaged: {error}") from None


def _next(found: Overview, driver: str | None, paths: SweepPaths) -> list[str]:
    """What the user may do now."""
    sweep, lines = quoted(paths.folder), [f"watch: tensorboard --logdir {quoted(paths.tensorboard())}"]
    if driver is None and (not found.is_done or found.counts[State.RUNNING]):
        lines.append(f"go on: gansweep resume {sweep}")
    if found.best_trial is not None and not found.exports:
        lines.append(f"export the best so far: gansweep export {sweep}")
    return lines
