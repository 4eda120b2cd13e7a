"""The driver dies or is told to stop; the sweep goes on later and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.tuner.sweeps import HALVING, State, curves, write_spec
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook

pytestmark = pytest.mark.slow

CHANGES: dict[str, Any] = {"scheduler": HALVING, "budget__trials": 4}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RecordBook:
    """The records of the sweep that nobody interrupts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = gansweep("run", write_spec(folder, **CHANGES), "--json")
    out, err = result.communicate(timeout=300)
    assert result.returncode == 0, err.decode()
    board = json.loads(out)
    assert len(board["trials"]) == 4
    assert board["trials"][0]["best"] <= board["trials"][1]["best"]
    assert Path(board["export"], "samples.png").is_file()
    return records_of(folder)


def test_a_sweep_interrupted_twice_goes_on_as_if_nothing_had_happened(tmp_path: Path, undisturbed: RecordBook) -> None:
    root = tmp_path / "sweeps" / "small"
    interrupted(signal.SIGKILL, 1, root, "run", write_spec(tmp_path, **CHANGES))
    interrupted(signal.SIGINT, 2, root, "resume", root)
    last = gansweep("resume", root)
    _, err = last.communicate(timeout=300)
    assert last.returncode == 0, err.decode()
    records = records_of(tmp_path)
    assert curves(records) == curves(undisturbed)
    assert [r.state for r in records.all()] == [r.state for r in undisturbed.all()]
    storage = JournalStorage(JournalFileBackend(str(root / SweepPaths.JOURNAL)))
    states = [trial.state.name for trial in optuna.load_study(study_name=None, storage=storage).trials]
    assert states == [{"complete": "COMPLETE", "stopped": "PRUNED"}[r.state.value] for r in records.all()]


def interrupted(number: signal.Signals, trial: int, root: Path, *command: object) -> None:
    """Runs a command until a trial has its first checkpoint, then sends the signal; nothing of ours may linger."""
    process = gansweep(*command)
    wait_until(lambda: any((root / "trials" / f"{trial:04d}").glob("checkpoint_*.pt")), process)
    # After a kill -9 Ray's node agents notice only after a while that their node is gone.
    children = [p for p in psutil.Process(process.pid).children(recursive=True) if "Agent" not in " ".join(p.cmdline())]
    # As a terminal does: Ctrl-C reaches the whole process group, Ray's processes among them.
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -signal.SIGKILL}.get(number, 130), err.decode()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "workers outlived the driver"
    assert State.RUNNING in {record.state for record in RecordBook(SweepPaths(root).trials).all()}


def test_a_second_run_of_the_same_name_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, budget__trials=1)
    root = tmp_path / "sweeps" / "small"
    root.mkdir(parents=True)
    (root / "spec.yaml").write_text("someone else's\n")
    again = gansweep("run", spec)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2
    assert b"gansweep resume" in err
    assert (root / "spec.yaml").read_text() == "someone else's\n"


def gansweep(*args: object) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    command = [sys.executable, "-m", "tuner.cli", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def records_of(folder: Path) -> RecordBook:
    """The small sweep's records below ``folder``, as they are on disk."""
    return RecordBook(SweepPaths(folder / "sweeps" / "small").trials)


def wait_until(condition: Any, process: subprocess.Popen[bytes], timeout_s: float = 150) -> None:
    """Waits for ``condition`` while ``process`` lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
