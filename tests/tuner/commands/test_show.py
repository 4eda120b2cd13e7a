"""`gansweep show` and `list`: how a sweep stands, from its folder, for people and machines, at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tuner.command import SPEC, Command
from tests.tuner.records.test_tables import DRIVING, METRIC, report
from tuner.engine.lease import hold
from tuner.records.paths import SweepPaths
from tuner.records.tables import write_leaderboard
from tuner.records.trials import RecordBook, State

BY = "fid[inception,299px-bilinear,n=8]"


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def a_sweep(folder: Path, *, unfinished: bool = True) -> SweepPaths:
    """Two of three trials, the first of which has ended."""
    paths = SweepPaths(folder)
    paths.storage.write_bytes(paths.SPEC, yaml.safe_dump(SPEC | {"name": folder.name}).encode())
    records = RecordBook(paths.trials)
    for number in range(2 if unfinished else 3):
        records.open(number, {"backbone": "efficientnet_lite0"})
        records.report(report(10, 90.0 - number, 90.0 - number, number=number))
        if number != 1 or not unfinished:
            records.end(number, State.COMPLETE, "all its images")
    write_leaderboard(paths, records, DRIVING)
    return paths


def test_an_unfinished_sweep_says_how_it_stands_and_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    paths = a_sweep(command.folder / "first")
    said = command("show", str(paths.folder))
    assert (said.code, said.err) == (0, "")
    assert f"sweep first: {paths.folder}" in said.out
    assert "nobody runs it; 2 of 3 trials (1 running, 1 complete); 0.6 kimg in 0.00 worker-hours" in said.out
    assert [line.split()[0] for line in said.out.splitlines() if "running" in line or "complete" in line][1:] == ["1", "0"]
    assert f"go on: gansweep resume {paths.folder}" in said.out
    assert f"export the best so far: gansweep export {paths.folder}" in said.out


def test_a_running_sweep_says_who_runs_it(command: Command) -> None:
    paths = a_sweep(command.folder / "first")
    with hold(paths.folder / paths.LEASE):
        said = command("show", str(paths.folder))
        assert f"running: process {os.getpid()} on " in said.out
        assert "resume" not in said.out
        assert json.loads(command("list", str(command.folder), "--json").out)[0]["driver"].startswith(f"process {os.getpid()}")
    # A driver that was killed leaves its lease.
    script = (
        "import os, sys; from pathlib import Path; from tuner.engine.lease import hold\nwith hold(Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, paths.folder / paths.LEASE], check=False)
    assert (paths.folder / paths.LEASE).exists()
    assert "nobody runs it" in command("show", str(paths.folder)).out


def test_a_sweep_that_is_done_shows_finalists_and_export(command: Command) -> None:
    paths = a_sweep(command.folder / "first", unfinished=False)
    rows = [{"trial": 2, "value": 70.5}, {"trial": 1, "value": None, "problem": "out of memory"}]
    paths.storage.write_bytes(paths.FINALISTS, json.dumps({"metric": BY, "lower_is_better": True, "finalists": rows}).encode())
    paths.storage.write_bytes("export/trial-0002/generator.safetensors", b"")
    said = command("show", str(paths.folder))
    assert "done; 3 of 3 trials (3 complete)" in said.out
    assert f"finalists by {BY}: trial 2 70.5\n" in said.out
    assert f"exported: {paths.export('trial-0002')}\n" in said.out
    assert "gansweep resume" not in said.out
    assert "gansweep export" not in said.out
    told = json.loads(command("show", str(paths.folder), "--json").out)
    assert told["states"] == {"running": 0, "complete": 3, "stopped": 0, "failed": 0}
    assert (told["metric"], told["best"], told["best_trial"]) == (METRIC, 88.0, 2)
    assert told["finalists"]["finalists"] == rows
    assert told["exports"] == [str(paths.export("trial-0002"))]
    assert told["worker_hours"] == pytest.approx(3 * 2.5 / 3600)


def test_a_sweep_without_a_report_can_be_shown(command: Command) -> None:
    paths = SweepPaths(command.folder / "new")
    paths.storage.write_bytes(paths.SPEC, yaml.safe_dump(SPEC).encode())
    said = command("show", str(paths.folder))
    assert "nobody runs it; 0 of 3 trials (none yet)" in said.out
    assert json.loads(command("show", str(paths.folder), "--json").out)["best"] is None


def test_sweeps_are_listed_newest_first(command: Command) -> None:
    older, newer = (a_sweep(command.folder / name, unfinished=name == "newer") for name in ("older", "newer"))
    os.utime(older.folder / older.LEADERBOARD, (1e9, 1e9))
    said = command("list", str(command.folder))
    lines = [line.split() for line in said.out.splitlines() if "er " in line]
    assert [line[:4] for line in lines] == [["newer", "left", "1/3", "89.0"], ["older", "done", "3/3", "88.0"]]
    assert [row["name"] for row in json.loads(command("list", str(command.folder), "--json").out)] == ["newer", "older"]
    assert newer.folder.name in said.out


def test_what_cannot_be_read_is_named(command: Command) -> None:
    good, bad = (a_sweep(command.folder / name) for name in ("good", "bad"))
    (bad.folder / bad.LEADERBOARD).write_text("{")
    said = command("list", str(command.folder))
    assert said.code == 1
    assert good.folder.name in said.out
    assert f"{bad.folder / bad.LEADERBOARD} is damaged" in said.err
    assert command("show", str(bad.folder)).code == 2
    (good.folder / good.SPEC).write_text("[1]")
    assert "is not the spec of a sweep" in command("show", str(good.folder)).err
    assert "is not a sweep: it has no spec.yaml" in command("show", str(command.folder)).err
    assert "there is no folder" in command("list", str(command.folder / "nowhere")).err
    (command.folder / "empty").mkdir()
    assert command("list", str(command.folder / "empty")).out == f"no sweeps in {command.folder / 'empty'}\n"


def test_neither_needs_torch_or_ray() -> None:
    code = "import sys, tuner.commands.show; print(sorted({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
