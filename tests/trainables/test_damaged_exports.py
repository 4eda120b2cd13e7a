"""Damaged exports and sources: noticed down to a bit, and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainables.harm import HARMS, flips
from tests.trainables.small import differences
from tests.trainables.test_exported import CONFIG, generator
from trainables.checkpoint import TrialFiles
from trainables.exported import load_export, save_export
from trainables.source import read_source, save_source
from trainables.storage import Storage

WEIGHTS = "generator.safetensors"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    save_export(tmp_path / "best", generator().state_dict(), CONFIG)
    return tmp_path / "best"


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_damaged_export_is_refused_by_name(export: Path, harm: str, name: str) -> None:
    (export / name).write_bytes(HARMS[harm]((export / name).read_bytes()))
    with pytest.raises(ValueError, match=rf"best/{name}"):
        load_export(export)
    if name == WEIGHTS:
        with pytest.raises(ValueError, match=rf"source: .*best/{name}"):
            read_source(export)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_no_flipped_bit_of_an_export_gives_another_generator(export: Path, name: str) -> None:
    expected, config = load_export(export)
    for place, damaged in flips((export / name).read_bytes(), 150):
        (export / name).write_bytes(damaged)
        try:
            loaded, found = load_export(export)
        except ValueError as error:
            assert f"best/{name}" in str(error)  # noqa: PT017 - either of two ends is right
        else:
            assert name == "config.json", place
            assert {key: found.get(key) for key in config} == config
            assert differences(loaded.state_dict(), expected.state_dict()) == []


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_of_another_export_is_refused(export: Path, tmp_path: Path, name: str) -> None:
    save_export(tmp_path / "other", generator(1).state_dict(), CONFIG | {"trial": 4})
    (export / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(ValueError, match=rf"best/{WEIGHTS} is damaged, or of another export"):
        load_export(export)


def test_an_export_from_before_there_were_checksums_is_taken(export: Path) -> None:
    config = json.loads((export / "config.json").read_text())
    del config["sha256"]
    (export / "config.json").write_text(json.dumps(config))
    assert load_export(export)[1] == {"format": 2} | CONFIG


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}", b'{"format": 2, "sha256": 3}', b"null"])
def test_odd_configs_are_refused(export: Path, content: bytes) -> None:
    (export / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"best/config\.json"):
        load_export(export)


@pytest.mark.parametrize("backbone", [3, None, ["vgg16"], {"a": 1}])
def test_an_odd_backbone_is_refused(export: Path, backbone: object) -> None:
    (export / "config.json").write_text(json.dumps({"format": 2} | CONFIG | {"backbone": backbone}))
    with pytest.raises(ValueError, match=r"best/config\.json is damaged"):
        load_export(export)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    save_source(tmp_path / "source.safetensors", generator(), {"vgg16": nn.Linear(3, 2)}, {"kimg": 3})
    return tmp_path / "source.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    state = {"ema": generator().state_dict(), "discriminator": {"w": torch.ones(3)}, "backbone": "vgg16"}
    TrialFiles(Storage(tmp_path)).save(state, {"step": 5}, b"png", is_best=True)
    return tmp_path / "checkpoint_00000005.pt"


@pytest.mark.parametrize("kind", ["source", "checkpoint"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_source_is_refused_by_name(request: pytest.FixtureRequest, kind: str, harm: str) -> None:
    file: Path = request.getfixturevalue(kind)
    file.write_bytes(HARMS[harm](file.read_bytes()))
    with pytest.raises(ValueError, match=rf"source .*{file.name}"):
        read_source(file)


@pytest.mark.parametrize("kind", ["source", "checkpoint"])
def test_no_flipped_bit_of_a_source_gives_other_tensors(request: pytest.FixtureRequest, kind: str) -> None:
    file: Path = request.getfixturevalue(kind)
    expected, noticed = read_source(file), 0
    for place, damaged in flips(file.read_bytes(), 200):
        file.write_bytes(damaged)
        try:
            assert differences(read_source(file), expected) == [], place
        except ValueError as error:
            assert file.name in str(error)  # noqa: PT017 - either of two ends is right
            noticed += 1
    assert noticed > 50


@pytest.mark.parametrize("content", [{}, {"ema": 3}, {"ema": {"w": 3}}, {"trainer": None}, {"trainer": {"ema": [1]}}])
def test_a_torch_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"source .*x\.pt is no checkpoint of a trial"):
        read_source(tmp_path / "x.pt")
