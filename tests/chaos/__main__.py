"""`make chaos`: faults at random through one sweep on two nodes of this machine, beside the same sweep undisturbed.

Prints how many trials were lost, whether leaderboard and curves are those of the undisturbed sweep to the last bit, what was left
behind on the cluster, and the time it cost. Needs to be root: it mounts a small file system, to fill it.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.faults import FAULTS, OURS, World, own_disk
from tests.clusters import TwoNodeCluster, two_node_cluster
from tests.tuner.sweeps import HALVING, curves, write_spec
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook, State

# One group whose two workers are on two nodes: what is proposed and who is stopped then depends on nothing but the trials.
CHANGES: dict[str, Any] = {
    "budget__kimg": 0.64,
    "scheduler": HALVING | {"grace_kimg": 0.16},
    "resources__max_groups": 1,
    "retries": 20,
    "breaker": 40,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, two_node_cluster() as cluster:
        undisturbed = Path(folder) / "undisturbed"
        undisturbed.mkdir()
        spec = write_spec(undisturbed, **CHANGES, budget__trials=chosen.trials)
        started = time.monotonic()
        driver = gansweep(cluster, undisturbed / "log", "run", spec)
        assert driver.wait() == 0, (undisturbed / "log").read_text()[-3000:]
        plain = time.monotonic() - started
        print(f"undisturbed: {plain:.0f} s", flush=True)
        with own_disk(Path(folder) / "disk") as disk:
            spec = write_spec(Path(folder), **CHANGES, budget__trials=chosen.trials, storage=str(disk / "sweeps"))
            started = time.monotonic()
            done = disturb(cluster, disk, spec, Path(folder) / "log", chosen.faults, random.Random(chosen.seed))
            disturbed = time.monotonic() - started
            report(undisturbed / "sweeps" / "small", disk / "sweeps" / "small", World(cluster, disk, psutil.Process()))
        each = (disturbed - plain) / max(1, sum(done.values()))
        print(f"time: {disturbed:.0f} s, undisturbed {plain:.0f} s: {each:.1f} s a fault")


def gansweep(cluster: TwoNodeCluster, log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """The command as a client of the cluster; what it prints is added to ``log``."""
    command = [sys.executable, "-m", "tuner.cli", *map(str, arguments), "--address", cluster.address]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=os.environ | cluster.env)


def disturb(
    cluster: TwoNodeCluster, disk: Path, spec: Path, log: Path, faults: int, chance: random.Random
) -> collections.Counter[str]:
    """Runs the sweep to its end through ``faults`` faults; a killed driver is followed by another."""
    sweep = disk / "sweeps" / "small"
    driver = gansweep(cluster, log, "run", spec)
    done: collections.Counter[str] = collections.Counter()
    names, weights = [*FAULTS], [weight for weight, _ in FAULTS.values()]
    while True:
        due = time.monotonic() + chance.uniform(1, 14)
        while driver.poll() is None and (time.monotonic() < due or sum(done.values()) >= faults):
            time.sleep(0.1)
        if driver.poll() == 0:
            break
        if driver.poll() is not None:
            assert driver.returncode < 0, log.read_text()[-3000:]  # only a kill ends it otherwise
            begun = (sweep / "spec.yaml").exists()
            driver = gansweep(cluster, log, *(("resume", sweep) if begun else ("run", spec)))
            continue
        (name,) = chance.choices(names, weights)
        if FAULTS[name][1](World(cluster, disk, psutil.Process(driver.pid)), chance):
            done[name] += 1
            ended = (
                sum(record.state != State.RUNNING for record in RecordBook(SweepPaths(sweep).trials).all())
                if sweep.exists()
                else 0
            )
            print(f"{sum(done.values()):>4}  {name:<24} {ended} trials have ended", flush=True)
    print("faults: " + ", ".join(f"{count} x {name}" for name, count in done.most_common()))
    return done


def report(undisturbed: Path, disturbed: Path, world: World) -> None:
    """Prints what was lost and what was left behind."""
    expected, found = (RecordBook(SweepPaths(folder).trials) for folder in (undisturbed, disturbed))
    lost = [r.number for r in found.all() if r.state not in (State.COMPLETE, State.STOPPED)]
    print(f"trials: {len(found)} of {len(expected)}; lost: {len(lost)} {lost or ''}")
    print(f"curves equal to the last bit: {curves(found) == curves(expected)}")
    boards = [_board(folder) for folder in (undisturbed, disturbed)]
    print(f"leaderboards equal: {boards[0] == boards[1]}")
    deadline = time.monotonic() + 30
    while (left := world.processes(*OURS)) and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"processes left on the cluster: {len(left)}")
    print(f"placement groups left on the cluster: {_placement_groups(world.cluster)}")


def _board(sweep: Path) -> list[dict[str, Any]]:
    rows = json.loads((sweep / SweepPaths.LEADERBOARD).read_text())["trials"]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def _placement_groups(cluster: TwoNodeCluster) -> int:
    code = (
        "import ray; from ray.util import placement_group_table; "
        f"ray.init('{cluster.address}', log_to_driver=False, logging_level=40); "
        "print(sum(group['state'] != 'REMOVED' for group in placement_group_table().values()))"
    )
    env = os.environ | cluster.env | {"RAY_AUTH_MODE": "token"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
