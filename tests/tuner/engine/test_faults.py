"""Faults of the world around a sweep, each on real Ray: what docs/reliability.md promises of storage, nodes, drivers and starts.

Deaths of workers, Tune actors and mailboxes are in test_sweep.py, those of drivers in test_interruption.py.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.clusters import TwoNodeCluster, stop_node, two_node_cluster
from tests.tuner.engine.test_interruption import gansweep, records_of, wait_until
from tests.tuner.sweeps import State, curves, write_spec
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook

pytestmark = pytest.mark.slow

CHANGES: dict[str, Any] = {"budget__trials": 2, "resources__workers": 1, "resources__max_groups": 1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RecordBook:
    """The sweep that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = finished(gansweep("run", write_spec(folder, **CHANGES)))
    assert done.returncode == 0, done.stderr
    return records_of(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def finished(process: subprocess.Popen[bytes], timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(process.args, process.returncode, out.decode(), err.decode())


def test_a_full_disk_pauses_the_sweep_and_loses_nothing(small_disk: Path, tmp_path: Path, undisturbed: RecordBook) -> None:
    sweep = small_disk / "sweeps" / "small"
    process = gansweep("run", write_spec(tmp_path, **CHANGES, storage=str(small_disk / "sweeps")))
    wait_until(lambda: any((sweep / "trials" / "0000").glob("checkpoint_*.pt")), process)
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 2**16)
                file.flush()
        except OSError:
            pass
    time.sleep(6)
    assert process.poll() is None, process.communicate()
    filler.unlink()
    done = finished(process)
    assert done.returncode == 0, done.stderr
    records = RecordBook(SweepPaths(sweep).trials)
    assert curves(records) == curves(undisturbed)
    assert [record.state for record in records.all()] == [State.COMPLETE] * 2
    # The worker, which could not write its checkpoint, or the driver, whichever wrote first.
    assert re.search(r"(paused for|wait for the storage).*No space left on device", done.stdout), done.stdout


def test_a_process_group_that_does_not_start_pauses_the_sweep_and_is_not_the_configurations_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: RecordBook
) -> None:
    # On all that this machine has: what a failed start does not give back, the next one lacks.
    spec = write_spec(tmp_path, **CHANGES, resources__cpus_per_worker=os.cpu_count(), breaker=3)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none-such")
    done = finished(gansweep("run", spec))
    assert done.returncode == 1, done.stderr
    assert "3 failures in a row without one report" in done.stderr
    root = tmp_path / "sweeps" / "small"
    assert "none-such" in (root / "trials" / "0000" / "error.txt").read_text()
    assert [record.state for record in records_of(tmp_path).all()] == [State.RUNNING]
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    done = finished(gansweep("resume", root, "--set", "resources.cpus_per_worker=1"))
    assert done.returncode == 0, done.stderr
    assert curves(records_of(tmp_path)) == curves(undisturbed)


def test_a_second_driver_is_refused_and_told_who_holds_the_sweep(tmp_path: Path, undisturbed: RecordBook) -> None:
    first = gansweep("run", write_spec(tmp_path, **CHANGES))
    root = tmp_path / "sweeps" / "small"
    wait_until(lambda: any((root / "trials").glob("*/record.json")), first)
    second = finished(gansweep("resume", root))
    assert second.returncode == 2
    assert f"is being run by process {first.pid} on " in second.stderr
    assert "--take-over" in second.stderr
    done = finished(first)
    assert done.returncode == 0, done.stderr
    assert curves(records_of(tmp_path)) == curves(undisturbed)
    assert not (root / "driver.lease").exists()


def test_a_driver_from_whom_the_sweep_was_taken_ends_and_writes_no_more(tmp_path: Path, undisturbed: RecordBook) -> None:
    first = gansweep("run", write_spec(tmp_path, **CHANGES | {"budget__kimg": 8}))
    root = tmp_path / "sweeps" / "small"
    wait_until(lambda: any((root / "trials" / "0000").glob("checkpoint_*.pt")), first)
    first.send_signal(signal.SIGSTOP)  # a machine that has frozen
    second = gansweep("resume", root, "--take-over", "--set", "budget.kimg=0.064")
    done = finished(second)
    assert done.returncode == 0, done.stderr
    board = (root / "leaderboard.json").read_bytes()
    first.send_signal(signal.SIGCONT)
    done = finished(first, 60)
    assert done.returncode == 1, done.stderr
    assert "taken over" in done.stderr
    assert (root / "leaderboard.json").read_bytes() == board


def test_a_second_ctrl_c_ends_the_driver_at_once(tmp_path: Path) -> None:
    process = gansweep("run", write_spec(tmp_path, **CHANGES | {"budget__kimg": 8}))
    root = tmp_path / "sweeps" / "small"
    wait_until(lambda: any((root / "trials" / "0000").glob("checkpoint_*.pt")), process)
    for _ in range(3):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.7)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert [record.state for record in records_of(tmp_path).all()] == [State.RUNNING]


def test_wall_time_ends_a_group_that_hangs_and_leaves_its_trial_to_be_resumed(tmp_path: Path, undisturbed: RecordBook) -> None:
    process = gansweep("run", write_spec(tmp_path, **CHANGES, budget__wall_minutes=0.01))  # and 20 s of grace
    root = tmp_path / "sweeps" / "small"
    wait_until(lambda: (root / "trials" / "0000" / "record.json").exists(), process)

    def workers() -> list[psutil.Process]:
        family = psutil.Process(process.pid).children(recursive=True)
        return [member for member in family if "RayTrainWorker" in " ".join(member.cmdline())]

    wait_until(lambda: bool(workers()), process)
    for worker in workers():
        worker.suspend()
    done = finished(process, 150)
    assert done.returncode == 1, done.stdout
    assert "no trial reached an evaluation" in done.stderr
    assert [record.state for record in records_of(tmp_path).all()] == [State.RUNNING]
    done = finished(gansweep("resume", root, "--set", "budget.wall_minutes=null"))
    assert done.returncode == 0, done.stderr
    assert curves(records_of(tmp_path)) == curves(undisturbed)


@pytest.fixture
def own_cluster() -> Iterator[TwoNodeCluster]:
    """Two nodes of which one may be lost; a group of one worker fits on either."""
    with two_node_cluster() as cluster:
        yield cluster


def test_a_node_is_lost_and_its_trial_goes_on_elsewhere(
    own_cluster: TwoNodeCluster, tmp_path: Path, undisturbed: RecordBook
) -> None:
    spec = write_spec(tmp_path, **CHANGES | {"budget__trials": 4, "resources__max_groups": 2})
    command = [sys.executable, "-m", "tuner.cli", "run", str(spec), "--address", own_cluster.address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | own_cluster.env)
    trials = tmp_path / "sweeps" / "small" / "trials"
    wait_until(lambda: all(any((trials / f"{number:04d}").glob("checkpoint_*.pt")) for number in (0, 1)), process)
    stop_node(own_cluster.node_pids[1])
    done = finished(process, 280)
    assert done.returncode == 0, done.stdout + done.stderr
    records = records_of(tmp_path)
    assert [record.state for record in records.all()] == [State.COMPLETE] * 4
    assert {number: curve for number, curve in curves(records).items() if number < 2} == curves(undisturbed)
