"""Exported generators: whole, self-contained, and clear about what is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from trainables.exported import enlargement, load_export, sample, save_export
from trainables.generators import GENERATORS, Frame

OPTIONS = {"name": "compact", "z_dim": 8, "channels": 4, "max_channels": 8}
CONFIG: dict[str, Any] = {
    "task": {"name": "generation"},
    "generator": OPTIONS,
    "backbone": "efficientnet_lite0",
    "resolution": 16,
    "trial": 3,
}


def generator(seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GENERATORS["compact"](GENERATORS["compact"].Options(**OPTIONS), Frame(16), pytest.fail)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    save_export(tmp_path / "new" / "best", generator().state_dict(), CONFIG)
    return tmp_path / "new" / "best"


def test_an_export_gives_the_same_generator_and_config(export: Path) -> None:
    loaded, config = load_export(export)
    assert config == {"format": 2} | CONFIG
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), generator().parameters(), strict=True))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(sample(loaded, range(3)), sample(generator(), range(3)))
    with Image.open(export / "samples.png") as picture:
        assert picture.size == (8 * 96 + 9 * 2,) * 2
    assert sorted(file.name for file in export.parent.iterdir()) == ["best"], "nothing temporary is left"


def test_pictures_are_numbered(export: Path) -> None:
    loaded, _ = load_export(export)
    pictures = sample(loaded, range(10), seed=4, batch_size=3)
    assert pictures.shape == (10, 3, 16, 16)
    torch.testing.assert_close(sample(loaded, range(6, 9), seed=4), pictures[6:9])
    assert not torch.allclose(sample(loaded, range(10), seed=5), pictures)


def test_a_new_export_replaces_the_old_one(export: Path) -> None:
    (export / "stray").write_text("of the old one")
    save_export(export, generator(1).state_dict(), CONFIG)
    assert sorted(file.name for file in export.iterdir()) == ["config.json", "generator.safetensors", "samples.png"]
    assert torch.equal(load_export(export)[0].to_image.weight, generator(1).to_image.weight)  # type: ignore[union-attr, arg-type]


def test_an_export_that_fails_leaves_the_old_one(export: Path) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        save_export(export, {"wrong": torch.zeros(1)}, CONFIG)
    assert torch.equal(load_export(export)[0].to_image.weight, generator().to_image.weight)  # type: ignore[union-attr, arg-type]
    assert sorted(file.name for file in export.parent.iterdir()) == ["best"]


@pytest.mark.parametrize("missing", ["config.json", "generator.safetensors"])
def test_what_is_missing_is_named(export: Path, missing: str) -> None:
    (export / missing).unlink()
    with pytest.raises(ValueError, match=rf"best is not an export: .*{re.escape(missing)}.* is missing"):
        load_export(export)


def test_no_folder_and_no_folder_at_all_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        with pytest.raises(ValueError, match="is not an export"):
            load_export(folder)


def changed(**changes: Any) -> bytes:
    return json.dumps({"format": 2} | CONFIG | changes).encode()


def without(key: str) -> bytes:
    return json.dumps({"format": 2} | {name: value for name, value in CONFIG.items() if name != key}).encode()


DAMAGED_CONFIGS = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "another format": changed(format=1),
    "no format": json.dumps(CONFIG).encode(),
    "no resolution": without("resolution"),
    "resolution is text": changed(resolution="big"),
    "resolution is no power of two": changed(resolution=17),
    "no generator": without("generator"),
    "no task": without("task"),
    "unknown task": changed(task={"name": "painting"}),
    "unknown generator": changed(generator={"name": "stylegan"}),
    "unknown option": changed(generator=OPTIONS | {"zdim": 3}),
}


@pytest.mark.parametrize("content", DAMAGED_CONFIGS.values(), ids=DAMAGED_CONFIGS)
def test_a_damaged_config_is_named(export: Path, content: bytes) -> None:
    (export / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"best/config\.json"):
        load_export(export)


def test_damaged_weights_are_named(export: Path) -> None:
    weights = (export / "generator.safetensors").read_bytes()
    (export / "config.json").write_bytes(changed(generator=OPTIONS | {"z_dim": 9}))
    with pytest.raises(ValueError, match=r"best/generator\.safetensors is damaged: (.|\n)*size mismatch"):
        load_export(export)
    (export / "config.json").write_bytes(changed())
    for content in (b"", b"x" * 50, weights[:-10]):
        (export / "generator.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"best/generator\.safetensors is damaged"):
            load_export(export)


def test_small_pictures_are_enlarged() -> None:
    assert [enlargement(side) for side in (8, 32, 64, 96, 256)] == [12, 3, 1, 1, 1]
