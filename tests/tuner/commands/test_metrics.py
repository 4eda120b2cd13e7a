from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

from tests.trainables.metrics.helpers import emoji, load_tiny
from tests.tuner.command import Command
from trainables.backbones import BackboneInfo
from trainables.collective import Collective
from trainables.exported import load_export, save_export
from trainables.generators import GENERATORS, Frame
from trainables.metrics import Evaluator, parse_metric
from trainables.randomness import indexed_noise
from tuner.commands import metrics as metrics_command
from tuner.commands.metrics import compare, show

COUNT = 24
NAMES = [f"fid[efficientnet_lite0,32px,n={COUNT}]", f"kid[efficientnet_lite0,32px,n={COUNT}]"]


@pytest.fixture(autouse=True)
def a_small_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def load(info: BackboneInfo) -> torch.nn.Module:
        assert info.name == "efficientnet_lite0"
        return load_tiny("tiny16")

    monkeypatch.setattr(metrics_command, "load_backbone", load)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def png(image: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """The same pictures as folder, archive and Parquet file, and others as a folder."""
    first, second = ([png(x) for x in emoji(COUNT, start)] for start in (0, 100))
    for name, files in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        for number, data in enumerate(files):
            (tmp_path / name / f"{number:03d}.png").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, data in enumerate(first):
            archive.writestr(f"{number:03d}.png", data)
    pq.write_table(pa.table({"image": first}), tmp_path / "a.parquet")
    return {name: str(tmp_path / name) for name in ("a", "b", "a.zip", "a.parquet")}


@pytest.fixture
def export(tmp_path: Path) -> str:
    options = GENERATORS["compact"].Options(name="compact", z_dim=16, channels=4, max_channels=8)
    with torch.random.fork_rng():
        generator = GENERATORS["compact"](options, Frame(32), pytest.fail)
    config = {"task": {"name": "generation"}, "generator": options.model_dump(mode="json"), "backbone": "vgg16", "resolution": 32}
    save_export(tmp_path / "export", generator.state_dict(), config)
    return str(tmp_path / "export")


def test_folder_archive_and_parquet_give_the_same_numbers(pictures: dict[str, str], tmp_path: Path) -> None:
    results = [
        compare(pictures[a], pictures["b"], metrics=NAMES, cache_dir=tmp_path / "cache") for a in ("a", "a.zip", "a.parquet")
    ]
    assert results[0].values == results[1].values == results[2].values
    assert results[0].resolution == 72
    assert (results[0].images_a, results[0].images_b) == (COUNT, COUNT)
    assert list(results[0].values) == [str(parse_metric(name)) for name in NAMES]


def test_pictures_have_no_distance_from_themselves(pictures: dict[str, str], tmp_path: Path) -> None:
    values = compare(pictures["a"], pictures["a.zip"], metrics=NAMES[:1], cache_dir=tmp_path / "cache").values
    assert list(values.values()) == pytest.approx([0], abs=1e-6)


def test_an_export_gets_the_numbers_of_its_trial(pictures: dict[str, str], export: str, tmp_path: Path) -> None:
    found = compare(pictures["a"], export, metrics=NAMES, cache_dir=tmp_path / "cache")
    assert found.resolution == 32
    dataset = metrics_command.load_dataset(metrics_command.DataOptions(path=pictures["a"], resolution=32), tmp_path / "cache")
    trial = Evaluator(
        NAMES, dataset.real_images, dataset.content_hash, load_backbone=lambda _: load_tiny("tiny16"),
        cache_dir=tmp_path / "cache", collective=Collective(), device=torch.device("cpu"),
    )  # fmt: skip
    generator, _ = load_export(Path(export))
    z_dim = generator.z_dim
    assert found.values == trial(lambda indices: generator(indexed_noise(indices, z_dim, 0, "evaluation")))


def test_an_export_can_be_the_reference(pictures: dict[str, str], export: str, tmp_path: Path) -> None:
    found = compare(export, export, metrics=NAMES[:1], cache_dir=tmp_path / "cache")
    assert found.images_a == COUNT
    assert list(found.values.values()) == pytest.approx([0], abs=1e-6)


def test_without_a_metric_a_choice_is_made(pictures: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_command, "inception_available", lambda: False)
    monkeypatch.setattr(metrics_command, "_FALLBACK", ("efficientnet_lite0", 32))
    found = compare(pictures["a"], pictures["b"], cache_dir=tmp_path / "cache")
    assert [parse_metric(name).kind for name in found.values] == list(metrics_command.DEFAULT_KINDS)
    assert json.loads(json.dumps(found.as_json()))["values"] == found.values
    stream = io.StringIO()
    show(found, Console(file=stream, width=150))
    assert "fid[efficientnet_lite0,32px-bilinear,n=24]" in stream.getvalue()


def test_progress_counts_up_to_the_end(pictures: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(*told: Any) -> None:
        seen.append(told)

    compare(pictures["a"], pictures["b"], metrics=NAMES, cache_dir=tmp_path / "cache", progress=progress)
    assert {what: (done, total) for what, done, total in seen} == {"real": (COUNT, COUNT), "generated": (COUNT, COUNT)}


def test_the_command_itself(pictures: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real backbone that the names say, through the command's own line."""
    monkeypatch.undo()
    monkeypatch.setenv("GANSWEEP_CACHE", str(tmp_path / "cache"))
    command = Command(tmp_path)
    names = [argument for name in NAMES for argument in ("--metric", name)]
    said = command("metrics", pictures["a"], pictures["b"], *names, "--json")
    assert said.code == 0, said.err
    values = json.loads(said.out)["values"]
    assert list(values) == [str(parse_metric(name)) for name in NAMES]
    assert values == compare(pictures["a"], pictures["b"], metrics=NAMES, cache_dir=tmp_path / "cache").values
    table = command("metrics", pictures["a"], pictures["b"], *names)
    assert table.code == 0
    assert "lower" in table.out
    missing = command("metrics", pictures["a"], str(tmp_path / "nowhere"))
    assert missing.code == 2
    assert "nowhere" in missing.err


def test_what_cannot_be_compared_is_said(pictures: dict[str, str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ValueError, match="holds 24 pictures: write n=24 or less"):
        compare(pictures["a"], pictures["b"], metrics=["fid[efficientnet_lite0,32px,n=25]"], cache_dir=cache)
    with pytest.raises(ValueError, match="did you mean 'efficientnet_lite0'"):
        compare(pictures["a"], pictures["b"], metrics=["fid[efficientnet_lit0,32px,n=5]"], cache_dir=cache)
    with pytest.raises(ValueError, match="does not exist"):
        compare(pictures["a"], str(tmp_path / "missing"), metrics=NAMES, cache_dir=cache)
    Image.new("RGB", (30, 40)).save(Path(pictures["b"]) / "odd.png")
    with pytest.raises(ValueError, match=r"not all of one square size .* say which by --resolution"):
        compare(pictures["a"], pictures["b"], metrics=NAMES, cache_dir=cache)
    assert compare(pictures["a"], pictures["b"], metrics=NAMES, resolution=48, cache_dir=cache).resolution == 48
