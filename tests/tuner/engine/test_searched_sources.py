"""A sweep that searches its source: ranked once before it, on the sweep's own machines, and then all of them are tried."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainables.test_source_ranking import EMOJI, untrained
from tests.tuner.sweeps import write_spec
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook

pytestmark = pytest.mark.slow


def gansweep(*arguments: object) -> str:
    """What the command says, in a process of its own with a Ray of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tuner.cli", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_sources_are_ranked_before_a_sweep_and_not_again_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    far = untrained(tmp_path / "far.safetensors", resolution=32)
    file = write_spec(
        tmp_path,
        source={"choice": [far, EMOJI]},
        source_fit="partial",
        trial__generator={},
        data__resolution=32,
        data__include="1f3[0-3]?.png",
        trial__evaluation__metric="fid[efficientnet_lite0,32px,n=48]",
        budget__trials=2,
        budget__kimg=0.016,
        resources__workers=1,
        resources__max_groups=1,
    )
    said = gansweep("run", file)
    ranking, search = said.index("best first by recall"), said.index("best fid")
    assert ranking < search
    assert "all of them are searched anyhow" in said
    paths = SweepPaths(tmp_path / "sweeps" / "small")
    data = json.loads(paths.storage.read_bytes(paths.SOURCES))
    assert data["metric"] == "fid[efficientnet_lite0,32px-bilinear,n=48]"
    assert [one["source"] for one in data["sources"]] == [EMOJI, far]
    assert len(RecordBook(paths.trials)) == 2

    paths.storage.write_bytes(paths.SOURCES, b"as it was")
    said = gansweep("resume", paths.folder, "--set", "budget.trials=3")
    assert "best first by recall" not in said
    assert paths.storage.read_bytes(paths.SOURCES) == b"as it was"
    records = RecordBook(paths.trials)
    assert len(records) == 3
    assert {record.values["source"] for record in records.all()} <= {far, EMOJI}
