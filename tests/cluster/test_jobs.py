from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import ClusterError, JobNotFoundError, Jobs, TokenError, UnreachableError
from tests.clusters import TwoNodeCluster

SCRIPT = """
import os, signal, sys, time
import shipped_with_job
# A cluster that was started in the background of a shell has its children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
print("answer", shipped_with_job.ANSWER, os.environ["GREETING"], sorted(os.listdir(".")))
try:
    while True:
        print("tick")
        time.sleep(0.2)
except KeyboardInterrupt:
    time.sleep(4)  # longer than the 3 seconds after which Ray kills unless told otherwise
    print("saved")
"""


@pytest.fixture
def not_ray() -> Iterator[str]:
    """A web server that is no Ray dashboard."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("address", ["ray://head:10001", "head:8265", "auto"])
def test_refuses_an_address_that_is_no_dashboard(address: str) -> None:
    with pytest.raises(ClusterError, match=r"must be http.s.://host:port"):
        Jobs(address)


def test_says_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreachableError, match=r"no Ray dashboard answers at http://127.0.0.1:1 .*\n  - check host and port"):
        Jobs("http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")
    with pytest.raises(UnreachableError, match=r"at http://127\.0\.0\.1:2"):
        Jobs()


def test_says_that_somebody_else_answers(not_ray: str) -> None:
    with pytest.raises(UnreachableError, match="something else does, with HTTP status 501"):
        Jobs(not_ray)


@pytest.mark.slow
def test_a_job_from_submission_to_a_gentle_stop(cluster: TwoNodeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, package = tmp_path / "work", tmp_path / "shipped_with_job"
    folder.mkdir()
    package.mkdir()
    (folder / "sweep.py").write_text(SCRIPT)
    # Unlike that of any other package here: Ray names an upload by the hash of its files, without the folder's name, and would
    # hand out the same files under the name that was uploaded first.
    (package / "__init__.py").write_text("ANSWER = 7\n")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # Ray's own client would go there
    jobs = Jobs(cluster.dashboard_url)

    job_id = jobs.submit(
        "python sweep.py",
        working_dir=folder,
        code=[package],
        env_vars={"GREETING": "hello"},
        job_id="my-sweep",
        metadata={"sweep": "my-sweep"},
    )
    assert job_id == "my-sweep"
    printed = ""
    for piece in jobs.follow(job_id):
        printed += piece
        if "tick" in printed:
            break
    assert "answer 7 hello ['sweep.py']" in printed
    job = jobs.status(job_id)
    assert (job.status, job.ended, job.metadata["sweep"]) == ("RUNNING", False, "my-sweep")
    with pytest.raises(ClusterError, match="already has a job 'my-sweep': choose another name"):
        jobs.submit("true", job_id="my-sweep")

    stopped = jobs.stop(job_id)
    assert stopped.status == "STOPPED"
    assert jobs.logs(job_id).endswith("saved\n")
    assert jobs.stop(job_id) == jobs.status(job_id)  # a second time changes nothing
    assert "".join(jobs.follow(job_id)).endswith("saved\n")  # an ended job's log can be followed as well
    with pytest.raises(JobNotFoundError, match=r"has no job 'my-swep'; did you mean 'my-sweep'\? Jobs: .*my-sweep"):
        jobs.status("my-swep")


@pytest.mark.slow
def test_a_job_joins_its_cluster(cluster: TwoNodeCluster, tmp_path: Path) -> None:
    """What a submitted sweep does: the entrypoint joins with "auto"; code and token are there already."""
    root = Path(__file__).parents[2]
    (tmp_path / "driver.py").write_text(
        "import ray\n"
        "from cluster import connect, inside_job\n"
        "assert inside_job()\n"
        "def task():\n"
        "    import os\n"
        "    return os.environ['FROM_JOB'], os.environ['FROM_BOTH'], os.environ['FROM_DRIVER']\n"
        "with connect('auto', code=['not needed here'], env_vars={'FROM_BOTH': 'd', 'FROM_DRIVER': 'd'}):\n"
        "    print('nodes', len(ray.nodes()), *ray.get(ray.remote(task).remote()))\n"
        "try:\n"
        "    with connect(): pass\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    jobs = Jobs(cluster.dashboard_url)
    env_vars = {"FROM_JOB": "j", "FROM_BOTH": "j"}
    job_id = jobs.submit("python driver.py", working_dir=tmp_path, code=[root / "cluster"], env_vars=env_vars)
    job = jobs.wait(job_id, timeout_s=180)
    assert job.status == "SUCCEEDED", jobs.logs(job.id)
    assert "nodes 2 j j d\n" in jobs.logs(job.id)
    assert "a submitted job runs on its own cluster: give it --address auto" in jobs.logs(job.id)


@pytest.mark.slow
def test_a_failed_job_says_why(cluster: TwoNodeCluster) -> None:
    jobs = Jobs(cluster.dashboard_url)
    start = time.time()
    job = jobs.wait(jobs.submit("echo reason >&2; exit 3"), timeout_s=180)
    assert job.status == "FAILED"
    assert "exit code 3" in job.message
    assert "reason" in job.message
    assert start - 5 < (job.start_time_s or 0) <= (job.end_time_s or 0)
    assert job in jobs.list()


@pytest.mark.slow
def test_wrong_and_missing_token(cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(TokenError, match=r"does not accept the token found here .from RAY_AUTH_TOKEN"):
        Jobs(cluster.dashboard_url)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TokenError, match="asks for a token and none was found here"):
        Jobs(cluster.dashboard_url)
    assert "RAY_AUTH_MODE" not in os.environ
