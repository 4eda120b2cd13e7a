"""What is allowed and told all the same: a judge that trials train with, a source that gives a part of G."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from search_spaces import preset_names
from search_spaces.space import Space
from tests.tuner.command import Command, ReachedRay, changed
from trainables.config import TrialConfig
from trainables.generators import Frame
from trainables.generators.compact import CompactGenerator, CompactOptions
from trainables.networks import uses_backbone
from trainables.source import save_source
from trainables.tasks import TASKS
from tuner.spec import SweepSpec
from tuner.spec.doubts import doubts

HONEST = {"trial/evaluation/metric": "fid[efficientnet_lite2,32px,n=8]"}
ONE_RATE = {"space": {"optimizer.generator_lr": {"choice": [1e-4]}}}
PARTIAL = {"source_fit": "partial"}
NO_TRUNK = ONE_RATE | {"trial/discriminator": {"name": "patch"}}
PAIRED = ONE_RATE | {"task": {"name": "denoising", "kind": "poisson", "photons": [10, 60]}, "trial/backbone": "vgg16"}


def told(changes: dict[str, object]) -> list[str]:
    return doubts(SweepSpec.model_validate(changed(changes)))


def test_a_judge_that_is_a_trunk_is_told() -> None:
    (doubt,) = told({})
    assert doubt.startswith(
        "trial.evaluation.metric: fid[efficientnet_lite0,32px-bilinear,n=8] judges by efficientnet_lite0, with which trials on "
        "efficientnet_lite0 train: "
    )


def test_a_judge_of_the_finalists_that_is_a_trunk_is_told() -> None:
    (doubt,) = told(HONEST | {"finalists": {"metric": "fid[efficientnet_lite1,32px,n=8]"}})
    assert doubt.startswith("finalists.metric: fid[efficientnet_lite1,32px-bilinear,n=8] judges by efficientnet_lite1, ")


@pytest.mark.parametrize(
    "changes",
    [
        HONEST,
        {"trial/evaluation/metric": "fid[inception,299px,n=8]"},
        # A network that is named, but of which nothing is made and at which nothing looks.
        NO_TRUNK | {"trial/feature_loss": {"layers": []}},
        PAIRED | {"trial/evaluation/metric": "psnr[n=4]"},
    ],
)
def test_a_judge_that_is_nobody_s_trunk_is_not(changes: dict[str, object]) -> None:
    assert told(changes) == []


@pytest.mark.parametrize(
    ("changes", "judge"),
    [
        (NO_TRUNK | {"trial/feature_loss": {"layers": ["blocks.1"]}}, "efficientnet_lite0"),
        (
            HONEST | ONE_RATE | {"trial/backbone": "timm/tf_efficientnet_lite2.in1k"},
            "efficientnet_lite2",
        ),
        (PAIRED | {"trial/evaluation/metric": "lpips[vgg,n=4]"}, "vgg16"),
    ],
)
def test_the_same_network_in_another_part_or_by_another_name_is_told(changes: dict[str, object], judge: str) -> None:
    (doubt,) = told(changes)
    assert f"judges by {judge}, with which trials train: " in doubt


@pytest.mark.parametrize("preset", preset_names())
def test_no_shipped_space_offers_the_default_judge_as_a_trunk(preset: str) -> None:
    defaults = {str(task.DEFAULTS["evaluation"]["metric"]) for task in TASKS.values()}
    offered = "".join(row.range for row in Space.preset(preset).describe() if row.path == "backbone")
    assert "resnet18" in offered or not offered
    judges = {metric.partition("[")[2].partition(",")[0] for metric in defaults if metric.count(",") == 2}
    assert judges == {"efficientnet_lite2"}
    assert not [judge for judge in judges if judge in offered]


def test_whether_a_trial_uses_its_backbone() -> None:
    def used(**changes: object) -> bool:
        return uses_backbone(TrialConfig(resolution=32, kimg=1, evaluation={"metric": "psnr[n=8]"}, **changes))

    plain = {"discriminator": {"name": "patch"}, "feature_loss": {"layers": ()}}
    assert not used(**plain)
    assert not used(**plain | {"feature_loss": {"layers": ("blocks.1",), "weight": 0}})
    assert used(**plain | {"feature_loss": {"layers": ("blocks.1",)}})
    assert used(**plain | {"discriminator": {"name": "projected"}})
    assert used(**plain | {"discriminator": {"name": "ensemble", "members": [{"name": "patch"}, {"name": "projected"}]}})
    assert used(**plain | {"generator": {"name": "inverted_trunk"}, "backbone": "resnet18"})
    assert used(**plain | {"task": "denoising"})  # its default G is an encoder-decoder
    assert not used(**plain | {"task": "denoising", "generator": {"name": "unet"}})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Of a generator of 16 px and 32 channels."""
    file = tmp_path / "source.safetensors"
    with torch.random.fork_rng():
        save_source(file, CompactGenerator(CompactOptions(), Frame(16), pytest.fail), {}, {})
    return file


def test_a_source_that_gives_a_part_of_the_generator_is_told(source: Path) -> None:
    (doubt,) = told(HONEST | PARTIAL | {"source": str(source)})
    assert doubt.startswith(f"source: G is hardly pretrained: the source {source} gives 4 of the 27 tensors of G, ")
    assert "With generator.channels: 16 it would give 9" in doubt
    assert told(HONEST | {"source": str(source), "data/resolution": 16}) == []


def test_of_several_generators_the_worst_is_told(source: Path) -> None:
    (doubt,) = told(HONEST | PARTIAL | {"source": str(source), "space/generator.channels": {"choice": [16, 32]}})
    assert doubt.startswith(f"source: G is hardly pretrained: the source {source} gives 4 of the 27 tensors of G, ")
    assert doubt.endswith("(the worst of 2 kinds of generators)")


def test_a_source_that_cannot_be_read_is_refused_elsewhere(tmp_path: Path) -> None:
    assert told(HONEST | {"source": str(tmp_path / "none.safetensors")}) == []


def test_a_run_tells_them_before_it_starts(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.commands import run

    asked: list[list[str]] = []
    monkeypatch.setattr(run, "doubts", lambda spec: asked.append(doubts(spec)) or asked[-1])
    with pytest.raises(ReachedRay):
        command.run()
    assert [len(found) for found in asked] == [1]


def test_a_dry_run_prints_them_as_warnings(command: Command, source: Path) -> None:
    said = command.run(PARTIAL | {"source": str(source)}, "--dry-run", "--json")
    assert said.code == 0
    assert said.err.count("warning: ") == 2
    assert "warning: trial.evaluation.metric: fid[efficientnet_lite0,32px-bilinear,n=8] judges by efficientnet_lite0" in said.err
    assert "warning: source: G is hardly pretrained: " in said.err
    assert "warning" not in said.out
