"""What is shipped to be copied: the demo's sweep and every preset fit what they are for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from search_spaces import preset_names
from tests.tuner.command import Command
from trainables.backbones import BACKBONES
from trainables.source import read_source
from tuner.spec import load_spec
from tuner.spec.checks import check_spec, example_configs
from tuner.spec.doubts import doubts

EXAMPLES = sorted(Path(__file__).parents[3].glob("examples/*/*.yaml"))
DEMO = Path(__file__).parents[3] / "examples" / "twemoji" / "sweep.yaml"


def test_there_are_examples() -> None:
    assert DEMO in EXAMPLES
    assert preset_names()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_valid_and_its_trials_can_be_built(file: Path) -> None:
    spec = load_spec(file)
    assert check_spec(spec) == []
    assert doubts(spec) == []
    configs = example_configs(spec)
    assert {config.resolution for config in configs} == {spec.data.resolution}
    if spec.source and Path(spec.source).exists():
        assert read_source(Path(spec.source))


def test_the_demo_is_judged_by_another_network_than_any_trial_s() -> None:
    spec = load_spec(DEMO)
    judge = spec.trial["evaluation"]["metric"]
    trunks = {config.backbone for config in example_configs(spec)}
    assert len(trunks) >= 2
    assert not any(trunk in judge for trunk in trunks)
    assert spec.finalists is not None
    assert "inception" in spec.finalists.metric
    assert spec.budget.trials >= 8
    assert spec.resources.workers == 2


def test_a_dry_run_of_the_demo(command: Command) -> None:
    shutil.copy(DEMO, command.file)
    source = f"source={DEMO.parent / 'source_32px.safetensors'}"  # whose path is relative to the spec's
    shown = json.loads(command("run", str(command.file), "--dry-run", "--json", "--set", "data.path=images", "--set", source).out)
    assert shown["spec"]["name"] == "twemoji-smileys"
    assert len(shown["example_trials"]) == 5


# What a preset says at its head that a spec must hold.
NEEDS: dict[str, dict[str, object]] = {
    "few_shot_generation": {},
    "stylegan2_transfer": {
        "data/resolution": 64,
        "trial/generator": {"name": "stylegan2"},
        "trial/adaptive": {},
        "trial/regularisers": [{"name": "r1"}],
    },
}


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_fits_every_backbone_it_names(command: Command, preset: str) -> None:
    said = command.run({"space": preset} | NEEDS[preset], "--dry-run", "--json")
    assert said.code == 0, said.err
    spec = load_spec(command.file)
    space = spec.search_space()
    configs = example_configs(spec)
    if "backbone" in space:
        assert {config.backbone for config in configs} == set(space.possible("backbone")) <= set(BACKBONES)
    # Every choice of layers is among the examples, so that it has been checked against its backbone.
    if "feature_loss.layers" in space:
        assert {config.feature_loss.layers for config in configs} >= set(space.possible("feature_loss.layers"))


def test_a_preset_is_checked_like_a_space_of_one_s_own(command: Command) -> None:
    found = command.problems(
        {"space": "few_shot_generation", "trial/discriminator": {"name": "projected"}, "data/resolution": 48}
    )
    assert any(row.split(": ")[1] == "data.resolution" for row in found)
    assert any("'frozen_depth'" in row for row in found)


def test_presets_can_be_written_out(command: Command) -> None:
    from search_spaces import Space

    for preset in preset_names():
        data = yaml.safe_load(yaml.safe_dump(Space.preset(preset).to_data(), sort_keys=False))
        assert Space.parse(data) == Space.preset(preset)
        assert command.run({"space": data} | NEEDS[preset], "--dry-run").code == 0


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_s_starting_points_are_trials(command: Command, preset: str) -> None:
    from search_spaces import Space

    starts = list(Space.preset(preset).starts)
    said = command.run({"space": preset, "try_first": starts, "budget/trials": 9} | NEEDS[preset], "--dry-run", "--json")
    assert said.code == 0, said.err
    shown = json.loads(said.out)["example_trials"]
    for values, name in zip(shown, starts, strict=len(shown) == len(starts)):
        start = {path: "+".join(v) if isinstance(v, list) else v for path, v in Space.preset(preset).starts[name].items()}
        assert {path: value for path, value in values.items() if path in start} == start
