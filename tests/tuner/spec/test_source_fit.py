"""Whether a spec's sources fit the networks of its trials: told by a dry run and by a run, of every source, before Ray starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.trainables.source.test_architecture import write
from tests.trainables.test_source_ranking import untrained
from tests.tuner.command import GONE, Command, ReachedRay, changed
from tuner.spec import load_spec

OWN = {
    "trial/discriminator": {"mbstd_group": 2},
    "space": {"optimizer.generator_lr": {"float": {"low": 1e-4, "high": 1e-3}}},
}
"""Trials have the networks of their source."""
WHEN = "space/discriminator.frozen_depth"


def source(folder: Path, name: str, resolution: int = 32, **of_generator: Any) -> str:
    return write(folder, resolution, **of_generator).rename(folder / f"{name}.safetensors").name


def resolved(command: Command, changes: dict[str, Any]) -> Any:
    """The spec that a dry run shows."""
    said = command.run(changes, "--dry-run", "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)["spec"]


@pytest.mark.parametrize("arguments", [["--dry-run"], []])
def test_a_misfit_is_told_before_anything_starts(command: Command, arguments: list[str]) -> None:
    changes = OWN | {"source": source(command.folder, "a"), "trial/generator": {"w_dim": 6}}
    (problem,) = command.problems(changes, *arguments)
    assert f": source: {command.folder / 'a.safetensors'} does not fit these networks (of another shape: " in problem
    assert problem.endswith("; to start from what fits, set source_fit: partial")


def test_a_dry_run_of_what_fits(command: Command) -> None:
    spec = OWN | {"source": source(command.folder, "a")}
    assert resolved(command, spec)["source"] == str(command.folder / "a.safetensors")
    assert command.run(spec | {"trial/generator": {"w_dim": 6}, "source_fit": "partial"}, "--dry-run").code == 0


def test_a_source_that_is_not_there_is_told_by_a_dry_run(command: Command) -> None:
    # Alone: what the networks of other trials lack, which such a spec has in their place, is no second fault.
    space = OWN["space"] | {"discriminator.frozen_depth": {"int": {"low": 0, "high": 4}}}
    changes = OWN | {"source": "gone.safetensors", "trial/generator": {"adapt": "lora"}, "space": space}
    (problem,) = command.problems(changes, "--dry-run")
    assert problem.endswith(f": source: source checkpoint {command.folder / 'gone.safetensors'} does not exist")


def test_all_misfits_of_all_sources_at_once(command: Command) -> None:
    a, b, c = (source(command.folder, name, mapping_layers=layers) for name, layers in (("a", 3), ("b", 2), ("c", 1)))
    space = OWN["space"] | {"generator.mapping_layers": {"int": {"low": 1, "high": 2}}}
    problems = command.problems(OWN | {"source": {"choice": [a, b, c]}, "space": space}, "--dry-run")
    told = [problem.split(": source: ")[1].replace(f"{command.folder}/", "") for problem in problems]
    assert [said.partition(".")[0] for said in told] == ["a", "a", "b", "c"]
    assert "in the source alone: generator.mapping.fc1 (2), generator.mapping.fc2 (2))" in told[0]
    assert "in the source alone: generator.mapping.fc2 (2))" in told[1]
    assert "not in the source: generator.mapping.fc1 (2)" in told[3]


def test_a_generator_of_the_resnet_form_cannot_be_cut(command: Command) -> None:
    spec = OWN | {"source": source(command.folder, "large", 64, architecture="resnet")}
    (problem,) = command.problems(spec, "--dry-run")
    assert "not in the source: generator.synthesis.b32 (4)" in problem
    assert "its G is of the resnet form, whose last block alone makes the picture, so that none can be left out" in problem
    assert "set data.resolution: 64)" in problem
    assert command.run(spec | {"data/resolution": 64}, "--dry-run").code == 0
    skip = command.run(OWN | {"source": source(command.folder, "skip", 64)}, "--dry-run")
    assert skip.code == 0
    assert "its blocks above that are left out" in skip.out


def test_of_several_sources_those_that_are_not_there_are_told_first(command: Command) -> None:
    """Without their networks nothing more can be said of their trials."""
    changes = OWN | {"source": {"choice": [source(command.folder, "a"), "gone.pkl", "lost.safetensors"]}}
    gone, lost = command.problems(changes, "--dry-run")
    assert gone.endswith(f": source: source checkpoint {command.folder / 'gone.pkl'} does not exist")
    assert lost.endswith(f": source: source checkpoint {command.folder / 'lost.safetensors'} does not exist")


def test_a_smaller_source_is_told_with_its_size(command: Command) -> None:
    (problem,) = command.problems(OWN | {"source": source(command.folder, "small", 16)}, "--dry-run")
    assert problem.endswith(". It makes pictures of 16 px: set data.resolution: 16")


def test_a_larger_stylegan3_cannot_be_cut(command: Command) -> None:
    untrained(command.folder / "three.safetensors", resolution=64, name="stylegan3")
    (problem,) = command.problems(OWN | {"source": "three.safetensors", "trial/discriminator": {}}, "--dry-run")
    assert problem.endswith(". It makes pictures of 64 px, and no stylegan3 can be cut: set data.resolution: 64")


@pytest.mark.parametrize("key", ["adapt", "frozen", "miner_layers", "style_mixing"])
def test_what_stylegan3_has_not_is_told_with_who_has(command: Command, key: str) -> None:
    untrained(command.folder / "three.safetensors", resolution=32, name="stylegan3")
    spec = OWN | {"source": "three.safetensors", "trial/discriminator": {}, "trial/generator": {key: {}}}
    (problem,) = command.problems(spec, "--dry-run")
    assert f"trial.generator.{key}: unknown key '{key}'" in problem
    assert "c_dim, channel_base, channel_max, clamp, conv_kernel, " in problem
    assert problem.endswith(f". stylegan2 has {key}, but stylegan3 has not")
    space = OWN["space"] | {f"generator.{key}": {"choice": [0, 1]}}
    (problem,) = command.problems(spec | {"space": space, "trial/generator": {}}, "--dry-run")
    assert problem.endswith(f". stylegan2 has {key}, but stylegan3 has not")


def test_a_wrong_space_brings_no_second_problem_of_networks_that_the_sources_would_have(command: Command) -> None:
    choice = {"choice": [source(command.folder, "a"), source(command.folder, "b")]}
    wrong = {"optimizer.generator_lr": {"float": {"low": 1e-3, "high": 1e-4}}}
    (problem,) = command.problems(OWN | {"source": choice, "trial/generator": {"adapt": "lora"}, "space": wrong}, "--dry-run")
    assert ": space.optimizer.generator_lr" in problem
    # Nor of what is fixed beside a name that is searched.
    wrong |= {"discriminator.name": {"choice": ["projected"]}}
    fixed = {"trial/discriminator": {"heads": "paper"}, "space": wrong}
    (problem,) = command.problems(OWN | fixed, "--dry-run")
    assert ": space.optimizer.generator_lr" in problem
    # What is wrong with the fixed part whatever the space is stays.
    assert len(command.problems(OWN | {"source": choice, "trial/batch_size": 0, "space": wrong}, "--dry-run")) == 2


def test_sources_in_starting_points_and_conditions_lie_beside_the_spec_too(command: Command) -> None:
    source(command.folder, "a")
    source(command.folder, "b")
    space = OWN["space"] | {
        "discriminator.frozen_depth": [{"when": {"source": "a.safetensors"}, "int": {"low": 0, "high": 2}}],
        "starts": {"first": {"source": "b.safetensors"}},
    }
    tried = ["first", {"source": "./a.safetensors", "discriminator.frozen_depth": 1}]
    changes = OWN | {"source": {"choice": ["a.safetensors", "b.safetensors"]}, "space": space, "try_first": tried}
    spec = resolved(command, changes)
    a, b = (str(command.folder / f"{name}.safetensors") for name in "ab")
    assert spec["try_first"] == ["first", {"source": a, "discriminator.frozen_depth": 1}]
    assert spec["space"]["starts"] == {"first": {"source": b}}
    assert spec["space"]["discriminator.frozen_depth"][0]["when"] == {"source": a}
    command.file.write_text(yaml.safe_dump(changed(changes), sort_keys=False))
    assert [values["source"] for values in load_spec(command.file).starts().values()] == [b, a]


CONDITIONAL = OWN["space"] | {
    "generator.adapt": {"choice": ["full", "lora"]},
    "source": [
        {"when": {"generator.adapt": "full"}, "choice": ["a.safetensors"]},
        {"when": {"generator.adapt": "lora"}, "choice": ["a.safetensors", "b.safetensors"]},
    ],
}


def test_sources_under_conditions_are_checked_and_ranked_as_others(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    source(command.folder, "a")
    source(command.folder, "b", w_dim=9)
    changes = OWN | {"space": CONDITIONAL}
    command.file.write_text(yaml.safe_dump(changed(changes), sort_keys=False))
    assert load_spec(command.file).sources == tuple(str(command.folder / f"{name}.safetensors") for name in "ab")
    assert command.run(changes, "--dry-run").code == 0
    (problem,) = command.problems(changes | {"trial/generator": {"w_dim": 10}}, "--dry-run")
    assert f": space.source: {command.folder / 'b.safetensors'} does not fit" in problem

    ranked: list[Any] = []
    from tuner.commands import sources

    monkeypatch.setattr(sources, "rank_sources", lambda names, *rest, **options: ranked.extend(names) or [])
    command("sources", str(command.file))
    assert [Path(name).name for name in ranked] == ["a.safetensors", "b.safetensors"]
    with pytest.raises(ReachedRay):
        command.run(OWN | {"space": CONDITIONAL})


def test_sources_are_given_in_one_place(command: Command) -> None:
    a = source(command.folder, "a")
    for given in (a, {"choice": [a]}):
        (problem,) = command.problems(OWN | {"source": given, "space": {"source": {"choice": [a]}}}, "--dry-run")
        assert problem.endswith(": space.source: cannot be searched: it is set by 'source'")
    for wrong in ({"choice": [None, a]}, {"int": {"low": 0, "high": 1}}):
        (problem,) = command.problems(OWN | {"space": {"source": wrong}}, "--dry-run")
        assert problem.endswith(": space.source: must be a choice of files")


def test_a_spec_without_sources_reads_none(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.spec import source_fit

    monkeypatch.setattr(source_fit, "example_configs", lambda spec: pytest.fail("nothing is to be looked at"))
    assert command.run({WHEN: GONE}, "--dry-run").code == 0
