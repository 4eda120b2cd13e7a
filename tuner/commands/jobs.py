"""``gansweep status``, ``logs`` and ``stop``: a submitted sweep, followed from afar. Without torch, so as to start fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from cluster.errors import ClusterError
from cluster.jobs import Jobs
from tuner.commands.terminal import fail, print_json


def status(job_id: str, address: str, *, as_json: bool) -> None:
    """`gansweep status`."""
    with _cluster_errors():
        job = Jobs(address).status(job_id)
    if as_json:
        print_json(asdict(job))
    else:
        print(f"{job.id}: {job.status}{f' ({job.message})' if job.message else ''}")
        print(f"  {job.entrypoint}")


def logs(job_id: str, address: str, *, follow: bool) -> None:
    """`gansweep logs`. With ``follow`` the exit code is 1 when the job failed."""
    with _cluster_errors():
        jobs = Jobs(address)
        if not follow:
            print(jobs.logs(job_id), end="")
            return
        for piece in jobs.follow(job_id):
            print(piece, end="", flush=True)
        if jobs.status(job_id).status == "FAILED":
            raise SystemExit(1)


def stop(job_id: str, address: str) -> None:
    """`gansweep stop`: the job gets a minute to leave its sweep resumable."""
    with _cluster_errors():
        job = Jobs(address).stop(job_id)
        print(f"{job.id}: {job.status}")
        if not job.ended:
            fail("it has not ended yet; ask again with: gansweep status", code=1)


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """One clear message and exit code 2 for what the user can mend."""
    try:
        yield
    except ClusterError as error:
        fail(error)
