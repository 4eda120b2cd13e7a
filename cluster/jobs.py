"""Jobs on a cluster, over the HTTP address of its dashboard: submit, status, logs, stop.

Two things that Ray leaves to the caller are settled here. The address given is the one used, although Ray's own client lets
RAY_ADDRESS override it. And a stop is gentle: Ray sends SIGTERM and kills after 3 seconds, so `submit` asks in the job's
environment for SIGINT and a minute, in which a sweep writes what it needs to be resumed.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.auth import authorization, missing_token, wrong_token
from cluster.environment import environment
from cluster.errors import ClusterError, JobNotFoundError, UnreachableError, with_ways

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_PROBE_TIMEOUT_S = 5.0
_POLL_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as its cluster knows it."""

    id: str
    status: str  # PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED
    entrypoint: str
    message: str  # why it has this status, in Ray's words
    metadata: dict[str, str]
    start_time_s: float | None  # Unix time
    end_time_s: float | None

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Jobs:
    """The jobs of one cluster.

    Args:
        address: the dashboard's http or https address; None: RAY_API_SERVER_ADDRESS if set, else this machine's default.

    Raises:
        UnreachableError: no Ray dashboard answers there.
        TokenError: it wants a token, and there is none or a wrong one.
    """

    def __init__(self, address: str | None = None) -> None:
        address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
        if not address.startswith(("http://", "https://")):
            raise ClusterError(
                f"a dashboard's address must be http(s)://host:port, such as {DEFAULT_ADDRESS}, but got {address!r}"
            )
        self.address = address.rstrip("/")
        self._headers = _probe(self.address)
        from ray.job_submission import JobSubmissionClient

        with environment(dict.fromkeys(_OVERRIDES)), _in_our_words(self.address):
            self._client = JobSubmissionClient(self.address, headers=dict(self._headers))

    def submit(
        self,
        entrypoint: str,
        *,
        working_dir: Path | None = None,
        code: Sequence[Path] = (),
        env_vars: Mapping[str, str] | None = None,
        job_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        stop_grace_s: int = 60,
    ) -> str:
        """Starts ``entrypoint`` on the cluster's head node and returns the job's id; it runs on when we leave.

        Args:
            entrypoint: a shell command.
            working_dir: a folder that is uploaded (at most 512 MiB) and in which the command runs.
            code: folders of Python packages to ship, importable by the command and by all workers.
            env_vars: environment variables of the command and of all workers.
            job_id: a name of our own; the cluster makes one up when None.
            metadata: labels that `list` shows.
            stop_grace_s: seconds between SIGINT and SIGKILL when the job is stopped.
        """
        stopping = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(stop_grace_s)}
        runtime_env: dict[str, Any] = {"env_vars": {**(env_vars or {}), **stopping}}
        if working_dir:
            runtime_env["working_dir"] = str(working_dir)
        if code:
            runtime_env["py_modules"] = [str(folder) for folder in code]
        if job_id and any(job.id == job_id for job in self.list()):
            raise ClusterError(f"the cluster at {self.address} already has a job {job_id!r}: choose another name")
        with _in_our_words(self.address):
            return str(
                self._client.submit_job(
                    entrypoint=entrypoint, runtime_env=runtime_env, submission_id=job_id, metadata=dict(metadata or {})
                )
            )

    def list(self) -> list[Job]:
        """All submitted jobs that the cluster remembers, oldest first."""
        with _in_our_words(self.address):
            jobs = [_job(info) for info in self._client.list_jobs() if info.submission_id]
        return sorted(jobs, key=lambda job: job.start_time_s or 0)

    def status(self, job_id: str) -> Job:
        """One job; JobNotFoundError names the nearest id if there is none of that id."""
        jobs = {job.id: job for job in self.list()}
        if job_id not in jobs:
            near = difflib.get_close_matches(job_id, jobs, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            known = ", ".join(jobs) or "(none)"
            raise JobNotFoundError(f"the cluster at {self.address} has no job {job_id!r}{hint} Jobs: {known}")
        return jobs[job_id]

    def logs(self, job_id: str) -> str:
        """All that a job has printed so far."""
        self.status(job_id)
        with _in_our_words(self.address):
            return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str) -> Iterator[str]:
        """What a job printed and prints, in pieces, until it ends. Not for use inside a running event loop."""
        self.status(job_id)
        # Not Ray's own `tail_job_logs`: it calls aiohttp in a way that aiohttp has deprecated.
        tail = _tail(f"{self.address}/api/jobs/{job_id}/logs/tail", self._headers)

        async def next_piece() -> str | None:
            return await anext(tail, None)

        with asyncio.Runner() as runner:  # which also closes the connection when the caller breaks off or presses Ctrl-C
            while True:
                with _in_our_words(self.address):
                    piece = runner.run(next_piece())
                if piece is None:
                    return
                yield piece

    def stop(self, job_id: str, *, wait_s: float = 90) -> Job:
        """Asks a job to end and waits until it has: SIGINT first, SIGKILL after the grace time given to `submit`.

        A job that has already ended is left as it is. Returns the job; its status is not final if ``wait_s`` was too short.
        """
        job = self.status(job_id)
        if job.ended:
            return job
        with _in_our_words(self.address):
            self._client.stop_job(job_id)
        return self.wait(job_id, timeout_s=wait_s)

    def wait(self, job_id: str, *, timeout_s: float) -> Job:
        """The job once it has ended, or as it is after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not (job := self.status(job_id)).ended and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return job


async def _tail(url: str, headers: Mapping[str, str]) -> AsyncGenerator[str, None]:
    import aiohttp

    # Waiting longer for the other side's goodbye would mean waiting for the job's next silence.
    hurried = aiohttp.ClientWSTimeout(ws_close=0.1)
    async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(url, timeout=hurried) as socket:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                yield message.data
        if socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            raise ConnectionError("the connection broke while following the job's log")


def _job(info: Any) -> Job:
    return Job(
        id=info.submission_id,
        status=str(info.status),
        entrypoint=info.entrypoint,
        message=info.message or "",
        metadata=dict(info.metadata or {}),
        start_time_s=info.start_time / 1000 if info.start_time else None,
        end_time_s=info.end_time / 1000 if info.end_time else None,
    )


def _probe(address: str) -> dict[str, str]:
    """The headers that the dashboard at ``address`` wants: with our token if it asks for one."""
    code = _ask(address, {})
    if code not in (401, 403):
        return {}
    header = authorization()
    if not header:
        raise missing_token(address)
    if _ask(address, header) in (401, 403):
        raise wrong_token(address)
    return header


def _ask(address: str, headers: Mapping[str, str]) -> int:
    import requests

    try:
        reply = requests.get(f"{address}/api/version", headers=dict(headers), timeout=_PROBE_TIMEOUT_S)
    except requests.RequestException as error:
        raise _unreachable(address, type(error).__name__) from None
    if reply.status_code not in (401, 403) and not (reply.ok and "ray_version" in reply.text):
        raise _unreachable(address, f"something else does, with HTTP status {reply.status_code}")
    return int(reply.status_code)


def _unreachable(address: str, reason: str) -> UnreachableError:
    ways = (
        "check host and port: the port is the dashboard's (8265 unless set), not that of `ray start --port`",
        "check that the head node has its dashboard: pip install 'ray[default]' and `ray start --head`",
        "if the dashboard listens on the head's loopback only (Ray's default): ssh -L 8265:127.0.0.1:8265 HEAD",
    )
    return UnreachableError(with_ways(f"no Ray dashboard answers at {address} ({reason})", ways))


@contextmanager
def _in_our_words(address: str) -> Iterator[None]:
    """Failures of Ray's client as errors of ours."""
    import aiohttp
    import requests

    try:
        yield
    except (requests.RequestException, aiohttp.ClientError, ConnectionError) as error:
        raise UnreachableError(f"the cluster at {address} does not answer any more ({error}); its jobs run on") from error
    except (RuntimeError, ValueError) as error:
        if isinstance(error, ClusterError):
            raise
        raise ClusterError(f"the cluster at {address} refused: {error}") from error
