from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import (
    ClusterError,
    GroupShape,
    TokenError,
    UnreachableError,
    connect,
    held_placement_groups,
    plan,
    read_nodes,
    remove_placement_groups,
)
from tests.clusters import TwoNodeCluster, family_of, runs


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No address, no token and no mode in the environment; an empty home."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "gansweep submit"),
        ("http://head:8265", "gansweep submit"),
        ("head", "must be 'auto' or host:port"),
        ("head:ray", "must be 'auto' or host:port"),
        ("head:70000", "must be 'auto' or host:port"),
    ],
)
def test_refuses_an_address_that_cannot_carry_a_sweep(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message), connect(address):
        pass


@pytest.mark.usefixtures("no_cluster")
def test_says_quickly_that_nobody_answers() -> None:
    start = time.monotonic()
    with (
        pytest.raises(UnreachableError, match=r"no Ray cluster answers at 127.0.0.1:1 .*\n  - check host and port"),
        connect("127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - start < 6
    assert not ray.is_initialized()


def test_cluster_knows_its_own_cpus() -> None:
    with pytest.raises(ClusterError, match="num_cpus and num_gpus are for an embedded Ray"), connect("h:1", num_cpus=2):
        pass


@pytest.mark.slow
def test_joins_and_runs_on_each_node(cluster: TwoNodeCluster, tmp_path: Path) -> None:
    package = tmp_path / "shipped_to_cluster"
    package.mkdir()
    (package / "__init__.py").write_text("ANSWER = 42\n")

    def task() -> tuple[str, int, str]:
        import shipped_to_cluster  # type: ignore[import-not-found]

        return ray.get_runtime_context().get_node_id(), shipped_to_cluster.ANSWER, os.environ["GREETING"]

    with connect(cluster.address, code=[package], env_vars={"GREETING": "hello"}) as session:
        assert not session.embedded
        assert session.dashboard_url == cluster.dashboard_url
        ids = [node["NodeID"] for node in ray.nodes()]
        assert len(ids) == 2
        there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in ids]
        remote = ray.remote(task)
        answers = ray.get([remote.options(scheduling_strategy=strategy).remote() for strategy in there], timeout=60)
        assert sorted(answers) == sorted((node, 42, "hello") for node in ids)

        machines = read_nodes()
        assert [node.cpus for node in machines] == [1, 1]
        found = plan(GroupShape(workers=2), machines)
        assert found.concurrency == 1
        group = placement_group([found.shape.bundle()] * 2, strategy=found.shape.strategy)
        assert ray.get(group.ready(), timeout=30)
        assert [node.cpus for node in read_nodes(free=True)] == [0, 0]
        (held,) = held_placement_groups()
        assert (held.id, held.state, held.resources) == (group.id.hex(), "CREATED", {"CPU": 2})
        remove_placement_groups([held.id])
        assert held_placement_groups() == []
        deadline = time.monotonic() + 30  # Ray tells what is free a moment late
        while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ray.available_resources().get("CPU") == 2
    assert not ray.is_initialized()
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.slow
def test_wrong_missing_and_unreadable_token(cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    start = time.monotonic()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    with (
        pytest.raises(TokenError, match=f"does not accept the token found here .from {wrong}") as caught,
        connect(cluster.address),
    ):
        pass
    assert "set RAY_AUTH_TOKEN to the token itself" in str(caught.value)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(TokenError, match="the token cannot be read"), connect(cluster.address):
        pass
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TokenError, match="asks for a token and none was found here"), connect(cluster.address):
        pass
    assert time.monotonic() - start < 5  # Ray alone takes 20 s for the first of them


@pytest.mark.slow
def test_another_version_of_ray_is_refused(cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.0.0")
    with (
        pytest.raises(ClusterError, match=f"runs Ray {version}, this process 2.0.0: they must be equal"),
        connect(cluster.address),
    ):
        pass


@pytest.mark.slow
def test_auto_joins_what_ray_address_names(cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with connect("auto"):
        assert len(ray.nodes()) == 2


@pytest.mark.slow
def test_an_embedded_ray_is_fresh_whatever_else_runs_here(
    cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    with connect(num_cpus=1) as session:
        assert session.embedded
        assert session.address != cluster.address
        assert session.dashboard_url is None
        assert len(ray.nodes()) == 1
        assert (tmp_path / ".ray" / "auth_token").exists()  # it asks for a token, too
        with pytest.raises(ClusterError, match="already connected"), connect():
            pass
        assert ray.get(ray.remote(lambda: 1).remote(), timeout=60) == 1
    assert "RAY_AUTH_MODE" not in os.environ
    with pytest.raises(UnreachableError), connect(session.address):
        pass


BLOCKED = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
import ray
from cluster import connect
with connect(num_cpus=1):
    task = ray.remote(lambda: time.sleep(600)).remote()
    print("running", flush=True)
    ray.get(task)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_ctrl_c_leaves_no_process_behind() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", BLOCKED]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        family = family_of(process.pid)
        assert len(family) > 3
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert printed.rstrip().endswith("KeyboardInterrupt")
    assert [member for member in family if runs(member)] == []
