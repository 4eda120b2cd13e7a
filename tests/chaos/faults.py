"""What can happen to a sweep: each fault is done to real processes and a real file system, and undone where it passes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.clusters import TwoNodeCluster, family_of

WORKER, TUNE_ACTOR, MAILBOX = ("RayTrainWorker",), ("ray::ResourceTrainable", "ray::GroupTrial"), ("ray::MailboxState",)
OURS = (*WORKER, *TUNE_ACTOR, *MAILBOX)


@dataclass
class World:
    """What faults are done to."""

    cluster: TwoNodeCluster
    disk: Path  # a mounted file system of its own
    driver: psutil.Process

    def processes(self, *titles: str) -> list[psutil.Process]:
        """The cluster's processes with one of these in their title."""
        found = []
        for node in self.cluster.node_pids:
            for member in family_of(node):
                with suppress(psutil.Error):
                    if any(title in " ".join(member.cmdline()) for title in titles):
                        found.append(member)
        return found


def _kill(*titles: str) -> Callable[[World, random.Random], bool]:
    def fault(world: World, chance: random.Random) -> bool:
        victims = world.processes(*titles)
        if victims:
            with suppress(psutil.NoSuchProcess):
                chance.choice(victims).kill()
        return bool(victims)

    return fault


def _kill_driver(world: World, chance: random.Random) -> bool:
    world.driver.kill()
    return True


def _freeze(world: World, chance: random.Random) -> bool:
    """SIGSTOP for a minute: of the driver, a Tune actor or a worker."""
    victims = [world.driver, *world.processes(*TUNE_ACTOR, *WORKER)]
    victim = chance.choice(victims)
    with suppress(psutil.NoSuchProcess):
        victim.send_signal(signal.SIGSTOP)
        time.sleep(60)
        victim.send_signal(signal.SIGCONT)
    return True


def _fill(world: World, chance: random.Random) -> bool:
    """The disk is full for a few seconds."""
    filler = world.disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 2**18)
    time.sleep(chance.uniform(2, 8))
    filler.unlink()
    return True


def _read_only(world: World, chance: random.Random) -> bool:
    """The file system is read-only for a few seconds; refused while a file is open for writing, so it is tried for a while."""
    for _ in range(50):
        if subprocess.run(["mount", "-o", "remount,ro", str(world.disk)], capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.1)
    else:
        return False
    time.sleep(chance.uniform(2, 8))
    subprocess.run(["mount", "-o", "remount,rw", str(world.disk)], check=True)
    return True


# Fault → (how often it is drawn, what is done); the latter says whether there was anything to do it to.
FAULTS: dict[str, tuple[int, Callable[[World, random.Random], bool]]] = {
    "kill -9 of a worker": (30, _kill(*WORKER)),
    "kill -9 of a Tune actor": (18, _kill(*TUNE_ACTOR)),
    "kill -9 of a mailbox": (18, _kill(*MAILBOX)),
    "kill -9 of the driver": (12, _kill_driver),
    "full disk": (10, _fill),
    "read-only folder": (8, _read_only),
    "SIGSTOP for a minute": (4, _freeze),
}


@contextmanager
def own_disk(folder: Path, megabytes: int = 2000) -> Iterator[Path]:
    """A file system of its own, which can be filled and made read-only."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=False)
        subprocess.run(["umount", "-l", str(folder)], check=True)
