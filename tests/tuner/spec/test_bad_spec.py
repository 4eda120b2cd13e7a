"""Every way to write a spec wrongly, through the real command: exit code 2, every problem at once, in words that help."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.tuner.command import GONE, SPEC, Command, ReachedRay, line_of
from trainables.generators import GENERATORS

BACKBONES = (
    "convnext_tiny, efficientnet_b0, efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, mobilenet_v2, "
    "resnet18, resnet50, squeezenet1_1, vgg16, vgg19"
)
ANY_BY_NAME = ", torchvision/NAME, timm/NAME"


def test_missing_spec_names_the_yaml_files_nearby(command: Command) -> None:
    near = command.folder / "swep.yml"
    near.write_text("name: x")
    said = command("run", str(command.file))
    assert said.code == 2
    assert f"{command.file}: there is no such file; YAML files there: {near}" in said.err


def test_a_folder_is_no_spec(command: Command) -> None:
    said = command("run", str(command.folder))
    assert said.code == 2
    assert "must be a YAML file, but is a folder" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "name: x\ndata: {path: a\nbudget: 3\n",
            "3: column 7: YAML syntax error: expected ',' or '}', but got ':' "
            "(while parsing a flow mapping that begins on line 2)",
        ),
        (
            "name: x\ndata:\n\tpath: a\n",
            "3: column 1: YAML syntax error: found character '\\t' that cannot start any token; "
            "YAML is indented by spaces, not by tabs",
        ),
        ("name: x\nseed: \x00\n", "2: YAML allows no character 0x0"),
    ],
)
def test_yaml_syntax_errors_have_their_line(command: Command, text: str, expected: str) -> None:
    assert command.problems(text=text) == [expected]


@pytest.mark.parametrize(("text", "holds"), [("", "but is empty"), ("3", "but holds 3"), ("[a]", "but holds ['a']")])
def test_a_spec_is_a_mapping(command: Command, text: str, holds: str) -> None:
    said = command.run(text=text)
    assert said.code == 2
    assert f"{command.file}: must hold a mapping of keys, {holds}" in said.err


def test_a_file_that_is_no_text(command: Command) -> None:
    command.file.write_bytes(b"\xff\xfe\x00")
    said = command("run", str(command.file))
    assert said.code == 2
    assert "is not UTF-8 text" in said.err


def test_a_key_given_twice_is_refused_as_yaml_would_take_the_last(command: Command) -> None:
    text = yaml.safe_dump(SPEC, sort_keys=False) + "seed: 3\nseed: 4\n"
    line = text.splitlines().index("seed: 3") + 1
    assert command.problems(text=text) == [f"{line + 1}: seed: must be given once, but stands on lines {line} and {line + 1}"]


# Each: changes, and (key whose line is meant, key, message) of every problem.
ONE_SPEC = {
    "unknown key": (
        {"sed": 1},
        [("sed", "sed", "unknown key 'sed'; did you mean 'seed'? Valid: breaker, budget, data, evaluation_budget, finalists, "
          "isolation, name, resources, retries, scheduler, seed, source, source_fit, space, storage, task, trial, try_first")],
    ),
    "unknown key in a section": (
        {"data/resolutoin": 64},
        [("resolutoin", "data.resolutoin", "unknown key 'resolutoin'; did you mean 'resolution'? Valid: background, column, "
          "crop, include, mirror, on_bad_image, path, resolution")],
    ),
    "unknown key in the trial": (
        {"trial/optimizer": {"beta_1": 0.5}},
        [("beta_1", "trial.optimizer.beta_1", "unknown key 'beta_1'; did you mean 'beta1'? Valid: beta1, beta2, "
          "discriminator_lr, generator_lr, trunk_lr_multiplier")],
    ),
    "unknown backbone": (
        {"space/backbone": GONE, "space/feature_loss.layers": GONE, "trial/backbone": "resnet8"},
        [("backbone", "trial.backbone", f"unknown backbone 'resnet8'; did you mean 'resnet18'? Valid: {BACKBONES}{ANY_BY_NAME}")],
    ),
    "unknown backbone in the space": (
        {"space/backbone": {"choice": ["efficientnet_lite0", "vgg61"]}, "space/feature_loss.layers": GONE},
        [("backbone", "space.backbone", f"unknown backbone 'vgg61'; did you mean 'vgg19'? Valid: {BACKBONES}{ANY_BY_NAME}")],
    ),
    "unknown backbone that makes a condition impossible": (
        {"space/backbone": {"choice": ["efficientnet_lite0", "efficientnet_lit1"]}},
        [
            ("backbone", "space.backbone", "unknown backbone 'efficientnet_lit1'; did you mean 'efficientnet_lite1'? "
             f"Valid: {BACKBONES}{ANY_BY_NAME}"),
            ("- efficientnet_lit1", None, None),
        ],
    ),
    "a layer the backbone lacks, in a branch": (
        {"space/feature_loss.layers": [
            {"when": {"backbone": "efficientnet_lite0"}, "choice": [["blocks.1"]]},
            {"when": {"backbone": "efficientnet_lite1"}, "choice": [["blocks.9", "layer1"]]},
        ]},
        [
            ("feature_loss.layers", "space.feature_loss.layers", "unknown layer of efficientnet_lite1 'blocks.9'; did you mean "
             "'blocks.6'? Valid: blocks.0, blocks.1, blocks.2, blocks.4, blocks.6"),
            ("feature_loss.layers", "space.feature_loss.layers", "unknown layer of efficientnet_lite1 'layer1'. "
             "Valid: blocks.0, blocks.1, blocks.2, blocks.4, blocks.6"),
        ],
    ),
    "a layer that one of the searched backbones lacks": (
        {"space/backbone": {"choice": ["efficientnet_lite0", "resnet18"]}, "space/feature_loss.layers": GONE,
         "trial/feature_loss": {"layers": ["blocks.1"]}, "space/discriminator.frozen_depth": GONE},
        [("layers", "trial.feature_loss.layers", "unknown layer of resnet18 'blocks.1'. Valid: layer1, layer2, layer3, layer4")],
    ),
    "a depth beyond the stages, in a branch": (
        {"space/backbone": {"choice": ["efficientnet_lite0", "resnet18"]}, "space/feature_loss.layers": GONE,
         "space/discriminator.frozen_depth": [
            {"when": {"backbone": "resnet18"}, "int": {"low": 0, "high": 5}},
            {"when": {"backbone": "efficientnet_lite0"}, "int": {"low": 0, "high": 5}},
        ]},
        [("discriminator.frozen_depth", "space.discriminator.frozen_depth", "must be <= 4, the stages of resnet18, but got 5")],
    ),
    "a depth beyond the stages of one of the searched backbones": (
        {"space/backbone": {"choice": ["efficientnet_lite0", "resnet18"]}, "space/feature_loss.layers": GONE},
        [("discriminator.frozen_depth", "space.discriminator.frozen_depth", "must be <= 4, the stages of resnet18, but got 5")],
    ),
    "a negative depth is told once, not for each backbone": (
        {"space/discriminator.frozen_depth": {"int": {"low": -1, "high": 5}}},
        [("discriminator.frozen_depth", "space.discriminator.frozen_depth", "must be >= 0, but got -1")],
    ),
    "a batch the workers cannot share": (
        {"trial/batch_size": 5, "resources": {"workers": 2}},
        [("batch_size", "trial.batch_size", "must be a multiple of resources.workers (2), which share it evenly, but got 5")],
    ),
    "a searched batch the workers cannot share": (
        {"trial/batch_size": GONE, "space/batch_size": {"choice": [4, 7]}, "resources": {"workers": 2}},
        [("batch_size", "space.batch_size", "must be a multiple of resources.workers (2), which share it evenly, but got 7")],
    ),
    "wrong types, all at once": (
        {"data": [1], "trial/batch_size": "many", "trial/augment": "color", "budget": {"trials": 2.5, "kimg": "lots"},
         "resources": {"workers": 0}, "finalists": "best"},
        [
            ("data", "data", "must be a mapping of keys, but got [1]"),
            ("batch_size", "trial.batch_size", "must be a whole number, but got 'many'"),
            ("augment", "trial.augment", "unknown pipeline of augmentations 'color'. Valid: bg, bgc, bgcf, bgcfn, bgcfnc"),
            ("trials", "budget.trials", "must be a whole number, but got 2.5"),
            ("kimg", "budget.kimg", "must be a number, but got 'lots'"),
            ("workers", "resources.workers", "must be >= 1, but got 0"),
            ("finalists", "finalists", "must be a mapping of keys, but got 'best'"),
        ],
    ),
    "an empty section": ({"trial": None}, [("trial", "trial", "must be a mapping of keys, but is empty")]),
    "a name that is no folder's": (
        {"name": "a b/c"},
        [("name", "name", "must begin with a letter or digit and hold only letters, digits, '.', '_' and '-', but got 'a b/c'")],
    ),
    "unknown paths in the space": (
        {"space/optimizer.lr": {"float": {"low": 0.1, "high": 1}}, "space/generator.zdim": {"int": {"low": 1, "high": 2}},
         "space/kimg": {"int": {"low": 1, "high": 2}}},
        [
            ("optimizer.lr", "space.optimizer.lr", "unknown key of a trial 'lr'. Valid: beta1, beta2, discriminator_lr, "
             "generator_lr, trunk_lr_multiplier"),
            ("generator.zdim", "space.generator.zdim", "unknown key of a trial 'zdim'; did you mean 'z_dim'? Valid: "
             + ", ".join(sorted({key for generator in GENERATORS.values() for key in generator.Options.model_fields}))),
            ("kimg", "space.kimg", "cannot be searched: it is set by 'budget.kimg'"),
        ],
    ),
    "places in lists": (
        {"trial/regularisers": [{"name": "r1"}], "space/regularisers.0.gama": {"float": {"low": 1, "high": 2}},
         "space/regularisers.1.gamma": {"float": {"low": 1, "high": 2}}, "space/optimizer.0": {"choice": [1]}},
        [
            ("regularisers.0.gama", "space.regularisers.0.gama",
             "unknown key of a trial 'gama'; did you mean 'gamma'? Valid: decay, every, gamma, gamma_multiple, name, weight"),
            ("regularisers.1.gamma", "space.regularisers.1.gamma",
             "is below 'trial.regularisers', which must then be a list of more than 1 parts, but got [{'name': 'r1'}]"),
            ("optimizer.0", "space.optimizer.0", "unknown key of a trial '0'. Valid: beta1, beta2, discriminator_lr, "
             "generator_lr, trunk_lr_multiplier"),
            ("optimizer.0", "space.optimizer.0",
             "is below 'trial.optimizer', which must then be a list of more than 0 parts, but got []"),
        ],
    ),
    "a share that no group of D divides": (
        {"trial/discriminator": {"name": "ensemble", "members": [{"name": "stylegan2"}, {"name": "patch", "layers": 1}]},
         "space": {"optimizer.generator_lr": {"choice": [1.0e-4]}}, "trial/batch_size": 12, "resources": {"workers": 2}},
        [("batch_size", "trial.batch_size",
          "must leave each of 2 workers parts that are a multiple of 4, D's mbstd_group, but 12 leaves 6")],
    ),
    "starting points": (
        {"try_first": ["ada", {"optimizer.generator_lr": 7}]},
        [("try_first", "try_first", "unknown starting point 'ada'. Valid: . stylegan2_transfer has it "
          "(--set space.… leaves out those that no longer fit)")],
    ),
    "the judge is not searched": (
        {"space/evaluation.metric": {"choice": ["fid[efficientnet_lite0,32px,n=8]", "fid[efficientnet_lite1,32px,n=8]"]}},
        [("evaluation.metric", "space.evaluation.metric",
          "cannot be searched: all trials are judged alike, by 'trial.evaluation'")],
    ),
    "a malformed metric": (
        {"trial/evaluation": {"metric": "FID"}},
        [("metric", "trial.evaluation.metric", "a metric is written like 'fid[inception,299px-bilinear,n=5000]', but got 'FID'")],
    ),
    "a metric on an unknown network": (
        {"finalists": {"metric": "fid[incepton,299px,n=8]"}},
        [("metric:finalists", "finalists.metric", "unknown feature extractor 'incepton'; did you mean 'inception'? "
          f"Valid: {BACKBONES.replace('mobilenet', 'inception, mobilenet')}")],
    ),
    "a grace period as long as a trial": (
        {"scheduler/grace_kimg": 2},
        [("grace_kimg", "scheduler.grace_kimg", "must be less than budget.kimg (2), but got 2")],
    ),
    "evaluations further apart than a trial is long": (
        {"trial/evaluation/every_kimg": 3},
        [("every_kimg", "trial.evaluation.every_kimg", "must be at most budget.kimg (2), but got 3")],
    ),
    "a resolution the generator cannot make": (
        {"data/resolution": 48},
        [("resolution", "data.resolution", "the resolution of compact must be a power of two >= 8, but got 48")],
    ),
    "unknown scheduler": (
        {"scheduler": {"name": "successive-halving"}},
        [("name:scheduler", "scheduler.name", "unknown scheduler 'successive-halving'; did you mean 'successive_halving'? "
          "Valid: none, successive_halving")],
    ),
    "unknown loss": (
        {"trial/adversarial": "hing"},
        [("adversarial", "trial.adversarial", "unknown adversarial 'hing'; did you mean 'hinge'? "
          "Valid: hinge, least_squares, minimax, non_saturating, relativistic, wasserstein")],
    ),
    "unknown discriminator": (
        {"trial/discriminator": {"name": "trunc"}},
        [("name:discriminator", "trial.discriminator.name", "unknown discriminator 'trunc'; did you mean 'trunk'? "
          "Valid: ensemble, patch, projected, stylegan2, trunk")],
    ),
    "an option of another discriminator": (
        {"trial/discriminator": {"name": "projected"}},
        [("discriminator.frozen_depth", "space.discriminator.frozen_depth", "unknown key 'frozen_depth'. Valid: conditional, "
          "head_channels, heads, input_px, mixed_channels, mixing, name, scales. stylegan2, trunk have frozen_depth, but "
          "projected has not")],
    ),
    "unknown shipped space": (
        {"space": "few_shot"},
        [("space", "space", "unknown preset 'few_shot'; did you mean 'few_shot_generation'? Valid: few_shot_generation, "
          "stylegan2_transfer")],
    ),
    "an empty space": ({"space": {}}, [("space", "space", "a search space must have at least one dimension, but it is empty")]),
    "many trials of one recipe": (
        {"space": GONE, "budget/trials": 3},
        [("trials", "budget.trials", "must be 1 where there is no space, as all trials would be the same, but got 3")],
    ),
    "a mistake in the one recipe": (
        {"space": GONE, "budget/trials": GONE, "trial/discriminator": {"name": "trunk", "frozen_depth": 99}},
        [("frozen_depth", None, "")],
    ),
    "a range upside down": (
        {"space/optimizer.generator_lr": {"float": {"low": 1, "high": 0.1}}},
        [("float:optimizer.generator_lr", "space.optimizer.generator_lr.float",
          "low <= high must hold, but got low=1.0, high=0.1")],
    ),
    "what the sweep sets is not set in the trial": (
        {"trial/resolution": 64},
        [("resolution:trial", "trial.resolution", "is set by 'data.resolution', not here")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE_SPEC)
def test_wrong_specs(command: Command, case: str) -> None:
    changes, expected = ONE_SPEC[case]
    found = command.problems(changes)
    text = command.file.read_text()
    wanted = []
    for key, path, message in expected:
        if path is None:
            wanted.append(found[len(wanted)])  # a consequence of the problem before, in words that are search_spaces' own
            continue
        leaf, _, section = key.partition(":")
        start = line_of(text, section) if section else 0
        line = start + line_of("\n".join(text.splitlines()[start:]), leaf)
        wanted.append(f"{line}: {path}: {message}")
    assert found == wanted


def test_a_search_says_how_many_trials_it_has_and_how_they_are_stopped(command: Command) -> None:
    found = command.problems({"budget/trials": GONE, "scheduler": GONE})
    rule = "must be given where something is searched, but is missing"
    line = line_of(command.file.read_text(), "budget")
    assert found == [f" scheduler: {rule}", f"{line}: budget.trials: {rule}"]  # what is not in the file has no line


def test_a_spec_without_a_space_is_one_recipe(command: Command) -> None:
    changes = {"space": GONE, "budget/trials": GONE, "scheduler": GONE}
    said = command.run(changes, "--dry-run")
    assert said.code == 0, said
    assert "none: one trial of the recipe above" in said.out
    shown = json.loads(command.run(changes, "--dry-run", "--json").out)
    assert (shown["spec"]["budget"]["trials"], shown["spec"]["scheduler"]["name"]) == (1, "none")
    assert (shown["space"], shown["example_trials"]) == ([], [{}])


def test_the_same_refusal_without_dry_run(command: Command) -> None:
    assert command.problems({"sed": 1}) == command.problems({"sed": 1}, "--dry-run")
    assert not (command.folder / "sweeps").exists()


def test_problems_of_every_kind_are_told_at_once(command: Command) -> None:
    changes: dict[str, Any] = {
        "sed": 1,
        "data/resolution": "big",
        "trial/adversarial": "hing",
        "space/optimizer.lr": {"float": {"low": 0, "high": 1}},
        "scheduler/grace_kimg": 4,
        "resources": {"workers": 2},
        "finalists": {"metric": "FID"},
    }
    found = command.problems(changes, "--set", "budget.trails=3")
    keys = [row.removeprefix("--set ").split(": ")[0 if row.startswith("--set") else 1] for row in found]
    assert keys == [
        "budget.trails",
        "data.resolution",
        "trial.adversarial",
        "space.optimizer.lr",
        "scheduler.grace_kimg",
        "sed",
        "finalists.metric",
    ]


def test_missing_sections(command: Command) -> None:
    said = command.run(text="name: x\n")
    assert said.code == 2
    assert [row.split(": ")[1:] for row in said.err.splitlines() if row.startswith(str(command.file))] == [
        [key, "must be given, but is missing"] for key in ("data", "trial", "budget")
    ]


def test_a_wrong_trial_is_found_beside_a_wrong_space(command: Command) -> None:
    found = command.problems({"space/optimizer.generator_lr": {"floaty": 1}, "trial/adversarial": "hing"})
    assert [row.split(": ")[1] for row in found] == ["trial.adversarial", "space.optimizer.generator_lr.floaty"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["budget.trials"], ["--set budget.trials: must look like path=value, such as budget.trials=20"]),
        (["=3"], ["--set =3: must look like path=value, such as budget.trials=20"]),
        (["budget.trials=["], ["--set budget.trials: the value must be YAML, but got '['"]),
        (["name.x=3"], ["--set name.x: is below a key that holds a value, not a mapping of keys"]),
        (
            ["budget.trails=3", "data.resolution=abc"],
            [
                "--set data.resolution: must be a whole number, but got 'abc'",
                "--set budget.trails: unknown key 'trails'; did you mean 'trials'? Valid: kimg, trials, wall_minutes",
            ],
        ),
        (
            ["space.optimizer.generator_lr={float: {low: 2, high: 1}}"],
            ["--set space.optimizer.generator_lr.float: low <= high must hold, but got low=2.0, high=1.0"],
        ),
    ],
)
def test_wrong_overrides_are_not_blamed_on_the_file(command: Command, overrides: list[str], expected: list[str]) -> None:
    arguments = [part for override in overrides for part in ("--set", override)]
    assert command.problems({}, *arguments) == expected


def test_overrides_reach_the_spec(command: Command) -> None:
    overrides = ["--set", "budget.trials=7", "--set", "space.optimizer.generator_lr={float: {low: 0.5, high: 0.5}}"]
    shown = json.loads(command.run({}, "--dry-run", "--json", *overrides).out)
    assert shown["spec"]["budget"]["trials"] == 7
    assert [trial["optimizer.generator_lr"] for trial in shown["example_trials"]] == [0.5] * 5


def test_an_override_changes_one_dimension_of_a_shipped_space(command: Command) -> None:
    override = "space.backbone={choice: [efficientnet_lite0, resnet18, vgg16, efficientnet_lite1, efficientnet_lite2]}"
    shown = json.loads(command.run({"space": "few_shot_generation"}, "--dry-run", "--json", "--set", override).out)
    assert [row["range"] for row in shown["space"] if row["path"] == "backbone"] == [
        "efficientnet_lite0 | resnet18 | vgg16 | efficientnet_lite1 | efficientnet_lite2"
    ]
    assert len(shown["space"]) > 5


class TestDryRun:
    def test_shows_spec_space_examples_and_placement_and_writes_nothing(self, command: Command) -> None:
        said = command.run({"resources": {"workers": 1}}, "--dry-run")
        assert said.code == 0
        assert f"path: {command.folder / 'images'}" in said.out
        assert "grace_kimg: 0.5" in said.out
        for row in (
            command_rows(said.out, "discriminator.frozen_depth", "0..5"),
            command_rows(said.out, "optimizer", "1e-4..1e-3 (log)"),
        ):
            assert len(row) == 1
        assert [line.split()[:2] for line in said.out.splitlines() if line.startswith("trial ")] == [
            ["trial", "0"],
            ["trial", "1"],
            ["trial", "2"],
        ]
        assert "each 1 worker of 1 CPU" in said.out
        assert not (command.folder / "sweeps").exists()
        assert not (command.folder / "cache").exists()

    def test_json_is_one_document_on_standard_output(self, command: Command) -> None:
        said = command.run({}, "--dry-run", "--json")
        shown = json.loads(said.out)
        assert sorted(shown) == ["example_trials", "placement", "space", "spec"]
        assert len(shown["example_trials"]) == 3
        assert {row["path"] for row in shown["space"]} == set(SPEC["space"])

    def test_examples_are_the_trials_that_the_sweep_will_propose_first(self, command: Command) -> None:
        first, again = (json.loads(command.run({"seed": 5}, "--dry-run", "--json").out)["example_trials"] for _ in range(2))
        assert first == again
        assert first != json.loads(command.run({"seed": 6}, "--dry-run", "--json").out)["example_trials"]

    def test_resources_that_no_machine_has_are_refused(self, command: Command) -> None:
        said = command.run({"resources": {"workers": 4, "cpus_per_worker": 10_000}}, "--dry-run")
        assert said.code == 2
        assert "a group of 4 workers of 10000 CPU can never be placed: a worker must fit on one node" in said.err
        assert "this machine: " in said.err


def test_a_good_spec_goes_as_far_as_ray(command: Command) -> None:
    with pytest.raises(ReachedRay):
        command.run({})


def command_rows(text: str, *parts: str) -> list[str]:
    return [line for line in text.splitlines() if all(part in line for part in parts)]
