"""A resumed sweep is the same experiment: what trials depend on beside the spec is recognised by its content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.tuner.command import Command, ReachedRay, changed
from trainables.generators import Frame
from trainables.generators.compact import CompactGenerator, CompactOptions
from trainables.source import save_source
from tuner.spec import SweepSpec, dump_spec, load_spec
from tuner.spec.fingerprint import FINGERPRINT, fingerprint, write_fingerprint

RULE = "cannot change in a resumed sweep, but"


def source_for(file: Path) -> None:
    """Writes a source for the small sweep's generators."""
    save_source(file, CompactGenerator(CompactOptions(), Frame(32), pytest.fail), {}, {})


def begun(command: Command, changes: dict[str, Any]) -> SweepSpec:
    """A sweep's folder as its start leaves it."""
    command.file.write_text(yaml.safe_dump(changed(changes), sort_keys=False))
    spec = load_spec(command.file)
    spec.root.mkdir(parents=True)
    (spec.root / "spec.yaml").write_bytes(dump_spec(spec))
    write_fingerprint(spec, command.folder / "cache")
    return spec


@pytest.fixture
def sweep(command: Command) -> SweepSpec:
    source_for(command.folder / "source.safetensors")
    return begun(command, {"source": "source.safetensors"})


def test_it_holds_hashes_and_names(command: Command, sweep: SweepSpec) -> None:
    found = json.loads((sweep.root / FINGERPRINT).read_text())
    assert found == fingerprint(sweep, command.folder / "cache")
    assert len(found["pictures"]) == len(found["source"]) == 64
    assert (found["style"], found["weights"], found["metric"]) == (None, [], "fid[efficientnet_lite0,32px-bilinear,n=8]")


@pytest.mark.parametrize("override", [None, "budget.trials=9", "budget.wall_minutes=3", "resources.workers=2", "retries=1"])
def test_the_same_goes_on(command: Command, sweep: SweepSpec, override: str | None) -> None:
    with pytest.raises(ReachedRay):
        command("resume", str(sweep.root), *(["--set", override] if override else []))


def test_moved_pictures_and_a_moved_source_are_the_same(command: Command, sweep: SweepSpec) -> None:
    for name in ("images", "source.safetensors"):
        shutil.move(command.folder / name, command.folder / f"moved-{name}")
    moved = [f"data.path={command.folder / 'moved-images'}", f"source={command.folder / 'moved-source.safetensors'}"]
    with pytest.raises(ReachedRay):
        command("resume", str(sweep.root), *(part for override in moved for part in ("--set", override)))


def test_changed_pictures_and_a_changed_source_are_named_at_once(command: Command, sweep: SweepSpec) -> None:
    picture = command.folder / "images" / "1f603.png"
    with Image.open(picture) as image:
        image.convert("RGBA").rotate(90).save(picture)
    source = command.folder / "source.safetensors"
    source_for(source)  # with other random values
    said = command("resume", str(sweep.root))
    assert said.code == 2
    assert f"data.path: the pictures {RULE} pictures were added, removed, renamed or edited" in said.err
    assert f"source: the source {RULE} its bytes are others" in said.err
    assert "It was " in said.err


def test_one_picture_more_is_another_experiment(command: Command, sweep: SweepSpec) -> None:
    shutil.copy(command.folder / "images" / "1f603.png", command.folder / "images" / "zz.png")
    said = command("resume", str(sweep.root))
    assert said.code == 2
    assert f"data.path: the pictures {RULE}" in said.err


def test_a_source_where_there_was_none(command: Command) -> None:
    spec = begun(command, {})
    source_for(command.folder / "source.safetensors")
    said = command("resume", str(spec.root), "--set", f"source={command.folder / 'source.safetensors'}")
    assert said.code == 2
    assert f"--set source: the source {RULE} its bytes are others: start one under another name. It was none, and is " in said.err


def test_another_metric_than_the_one_it_began_with(command: Command, sweep: SweepSpec) -> None:
    file = sweep.root / FINGERPRINT
    file.write_text(json.dumps(json.loads(file.read_text()) | {"metric": "kid[efficientnet_lite0,32px,n=8]"}))
    said = command("resume", str(sweep.root))
    assert said.code == 2
    assert "trial.evaluation.metric: the metric that drives the search cannot change" in said.err
    assert "It was kid[efficientnet_lite0,32px,n=8], and is fid[efficientnet_lite0,32px-bilinear,n=8] now" in said.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing, as an earlier version left it"),
        (b"{", "is damaged"),
        (b"[]", "is damaged"),
        (b'{"source": 3}', "is damaged"),
    ],
)
def test_without_a_fingerprint_there_is_a_warning(
    command: Command, sweep: SweepSpec, content: bytes | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep.root / FINGERPRINT).unlink()
    if content is not None:
        (sweep.root / FINGERPRINT).write_bytes(content)
    from tuner.spec.preflight import preflight

    with pytest.warns(UserWarning, match=f"the fingerprint of .* {words}"):
        preflight(load_spec(sweep.root / "spec.yaml"), Path(command.folder / "cache"), resuming=True)
    with pytest.raises(ReachedRay):
        command("resume", str(sweep.root))


def test_a_style_is_known_by_its_pictures(command: Command) -> None:
    shutil.copytree(command.folder / "images", command.folder / "style")
    style = {
        "task": {"name": "style_transfer", "style": "style"},
        "trial": {
            "batch_size": 4,
            "generator": {"name": "encoder_decoder", "depth": 3},
            "feature_loss": {"layers": ["blocks.1"], "style_layers": ["blocks.0"]},
        },
        "space": {"generator.frozen_depth": {"int": {"low": 0, "high": 3}}},
    }
    spec = begun(command, style)
    shutil.move(command.folder / "style", command.folder / "moved")
    moved = f"task.style={command.folder / 'moved'}"
    with pytest.raises(ReachedRay):
        command("resume", str(spec.root), "--set", moved)
    (command.folder / "moved" / "1f603.png").unlink()
    said = command("resume", str(spec.root), "--set", moved)
    assert f"task.style: the style's pictures {RULE}" in said.err


def test_what_was_left_before_the_first_trial_is_no_sweep(command: Command) -> None:
    spec = begun(command, {})
    (spec.root / "spec.yaml").unlink()
    with pytest.raises(ReachedRay):
        command.run({})
    (spec.root / "notes.txt").touch()
    assert "is already there and is no sweep" in command.run({}).err
