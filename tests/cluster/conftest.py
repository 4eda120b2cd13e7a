from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters import TwoNodeCluster, two_node_cluster


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
