"""One driver a sweep, whatever happens to it, and wherever it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tuner.engine import lease
from tuner.engine.lease import HeldError, hold

HOLDS = """
import sys, time
from pathlib import Path
from tuner.engine.lease import hold
with hold(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sweep" / "driver.lease"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths of seconds."""
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.2)
    monkeypatch.setattr(lease, "STALE_AFTER_S", 1.5)


def elsewhere(file: Path, **changes: object) -> None:
    """Makes the lease one of another machine."""
    file.write_text(json.dumps(json.loads(file.read_text()) | {"machine": "another", "host": "far-away"} | changes))


def test_it_is_held_once_and_given_back(file: Path) -> None:
    with hold(file), pytest.raises(HeldError, match="is being run by process"), hold(file):
        pass
    assert not file.exists()
    with hold(file):
        assert file.exists()
    assert [path.name for path in file.parent.iterdir() if not path.name.endswith(".lock")] == []


def test_a_holder_killed_by_kill_9_is_succeeded_at_once(file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        with pytest.raises(HeldError, match=f"process {process.pid} on "), hold(file):
            pass
        process.kill()
        process.wait()
        started = time.monotonic()
        with hold(file):
            assert time.monotonic() - started < 1


def test_a_process_id_that_is_used_again_is_another_process(file: Path) -> None:
    file.parent.mkdir()
    with hold(file):
        held = json.loads(file.read_text())
    file.write_text(json.dumps(held | {"began": held["began"] - 1}))
    with hold(file):
        assert json.loads(file.read_text())["token"] != held["token"]


@pytest.mark.usefixtures("hurried")
def test_a_holder_elsewhere_is_succeeded_when_it_has_renewed_nothing_for_a_while(file: Path) -> None:
    said: list[str] = []
    with hold(file):
        held = file.read_text()
    file.write_text(held)
    elsewhere(file)
    with hold(file, say=said.append):
        assert len(said) == 1
        assert "far-away" in said[0]


@pytest.mark.usefixtures("hurried")
def test_a_holder_elsewhere_that_renews_is_left_alone(file: Path) -> None:
    with hold(file):
        held = file.read_text()
    file.write_text(held)
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.1):
            os.utime(file)

    elsewhere(file)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(HeldError, match="far-away"), hold(file):
            pass
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("hurried")
def test_whoever_is_taken_over_from_notices_and_leaves_the_lease_alone(file: Path) -> None:
    with hold(file) as first:
        assert first.lost is None
        with hold(file, take_over=True) as second:
            deadline = time.monotonic() + 5
            while first.lost is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert "process" in str(first.lost)
            assert second.lost is None
            first.release()
            assert file.exists()


def test_one_that_has_slept_looks_before_it_says_that_the_sweep_is_its_own(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(file) as first:
        elsewhere(file, token="another's")
        assert first.lost is None, "it has looked a moment ago"
        monkeypatch.setattr(first, "_looked_at", time.monotonic() - 60)
        assert "far-away" in str(first.lost)
    assert file.exists()


def test_of_many_who_come_at_once_one_gets_it(file: Path) -> None:
    """Over a lease whose holder has died, too: who removes it must not remove the next one's."""
    for _ in range(10):
        with hold(file):
            held = json.loads(file.read_text())
        file.write_text(json.dumps(held | {"began": -1.0}))
        inside, together, refused = [0], [0], [0]

        def come(inside: list[int] = inside, together: list[int] = together, refused: list[int] = refused) -> None:
            try:
                with hold(file):
                    inside[0] += 1
                    together[0] = max(together[0], inside[0])
                    time.sleep(0.05)
                    inside[0] -= 1
            except HeldError:
                refused[0] += 1

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert together[0] == 1


@pytest.mark.usefixtures("hurried")
def test_a_lease_that_cannot_be_read_is_waited_for(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"")
    said: list[str] = []
    with hold(file, say=said.append):
        assert "cannot be read" in said[0]
