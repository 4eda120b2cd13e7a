"""A real two-node Ray cluster on this machine, for tests: ``with two_node_cluster() as cluster``.

Two ``ray start`` processes with ports, temporary folders and a token of their own, so that any number can run side by side and
nobody else's Ray is touched; all of their processes are gone afterwards.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray  # noqa: F401 - brings psutil, which it vendors, onto the path

import psutil  # type: ignore[import-untyped]  # isort: skip

_START_TIMEOUT_S = 120  # a busy machine with two cores needs 20 to 40


@dataclass(frozen=True)
class TwoNodeCluster:
    """How to reach a running cluster."""

    address: str  # host:port to join
    dashboard_url: str
    token_path: Path
    folder: Path
    node_pids: tuple[int, int]  # of the two `ray start --block` processes, head first

    @property
    def env(self) -> dict[str, str]:
        """What a client must have in its environment."""
        return {"RAY_AUTH_TOKEN_PATH": str(self.token_path)}


@contextmanager
def two_node_cluster(*, head_cpus: int = 1, worker_cpus: int = 1) -> Iterator[TwoNodeCluster]:
    """Starts a head and a worker node that ask for a token; stops both at the end."""
    # Not pytest's folder: Ray puts Unix sockets into it, whose paths must be shorter than 108 characters.
    folder = Path(tempfile.mkdtemp(prefix="gs"))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port, dashboard, client = _free_ports(3)
    head = ["--head", f"--port={port}", f"--num-cpus={head_cpus}", f"--temp-dir={folder / 'h'}"]
    head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    worker = [f"--address=127.0.0.1:{port}", f"--num-cpus={worker_cpus}", f"--temp-dir={folder / 'w'}"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start_node(head, folder / "head.log", token))
        started.append(_start_node(worker, folder / "worker.log", token))
        yield TwoNodeCluster(
            f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", token, folder, (started[0].pid, started[1].pid)
        )
    finally:
        for process in reversed(started):
            stop_node(process.pid)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def stop_node(pid: int) -> None:
    """Ends one node: politely first, then whatever of its processes is left."""
    family = family_of(pid)
    if not family:
        return
    family[0].terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for member in alive:
        member.kill()
    psutil.wait_procs(alive, timeout=5)


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all its descendants; empty if it has gone."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return []
    return [process, *process.children(recursive=True)]


def runs(process: psutil.Process) -> bool:
    """Whether a process lives: a zombie, for which its container's first process has not waited yet, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _start_node(arguments: list[str], log: Path, token: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
    # 0 lets the system pick ports: the defaults are fixed and belong to the first Ray on a machine.
    command += ["--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--object-store-memory={80 * 2**20}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # As in an activated environment: the `python` of a job's entrypoint is the first on the node's path.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            stop_node(process.pid)
            raise RuntimeError(f"ray start did not start a node:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
    return process


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
