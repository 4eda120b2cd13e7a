from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.clusters import TwoNodeCluster, two_node_cluster

START_RAY = (
    "tests/cluster/",
    "tests/tuner/engine/test_cluster_sweep.py",
    "tests/tuner/engine/test_faults.py",
    "tests/tuner/engine/test_gpu_sweep.py",
    "tests/tuner/engine/test_interruption.py",
    "tests/tuner/engine/test_searched_sources.py",
    "tests/tuner/engine/test_sweep.py",
)


class _RayInOneProcess(LoadScopeScheduling):
    """Gives a process of ``pytest -n`` whole files, and one of them all those that start Ray: two at a time need four cores."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(START_RAY) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _RayInOneProcess(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("gpu"):
        import torch  # not at the top: many tests do without

        needed, here = mark.args[0] if mark.args else 1, torch.cuda.device_count()
        if here < needed:
            pytest.skip(f"needs {needed} CUDA device{'s' if needed > 1 else ''}, and {here or 'none'} is here")


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[TwoNodeCluster]:
    """Started once for all tests that need one."""
    with two_node_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: TwoNodeCluster, monkeypatch: pytest.MonkeyPatch) -> TwoNodeCluster:
    """A two-node cluster whose token this process has, and nothing else of Ray in the environment."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(running_cluster.token_path))
    return running_cluster
