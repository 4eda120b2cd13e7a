from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search_spaces import Branch, Choice, Float, Int, Space, SpaceError, preset_names

TEXT = """
backbone: {choice: [efficientnet_lite0, efficientnet_lite1, resnet18]}
discriminator.frozen_depth:
  - {when: {backbone: [efficientnet_lite0, efficientnet_lite1]}, int: {low: 0, high: 5}}
  - {when: {backbone: resnet18}, int: {low: 0, high: 4}}
feature_loss.layers:
  - {when: {backbone: [efficientnet_lite0, efficientnet_lite1]}, choice: [[blocks.1], [blocks.1, blocks.2]]}
  - {when: {backbone: resnet18}, choice: [[layer1], [layer1, layer2]]}
feature_loss.weight: {float: {low: 1e-2, high: 10, log: true}}
optimizer.trunk_lr_multiplier:
  - {when: {backbone: resnet18, discriminator.frozen_depth: [0, 1]}, float: {low: 0.01, high: 1, log: true}}
"""


@pytest.fixture
def space() -> Space:
    return Space.parse(yaml.safe_load(TEXT))


def problems_of(text: str) -> dict[str, str]:
    with pytest.raises(SpaceError) as caught:
        Space.parse(yaml.safe_load(text))
    assert isinstance(caught.value, ValueError)
    return dict(caught.value.problems)


def test_draws_only_what_its_conditions_allow(space: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(60):
        values = space.suggest(study.ask())
        lite = values["backbone"] != "resnet18"
        depth = values["discriminator.frozen_depth"]
        assert isinstance(depth, int)
        assert depth <= (5 if lite else 4)
        assert isinstance(values["feature_loss.layers"], tuple)
        assert values["feature_loss.layers"][0] == ("blocks.1" if lite else "layer1")
        assert ("optimizer.trunk_lr_multiplier" in values) == (not lite and depth in (0, 1))
        seen.add(tuple(values))
    assert len(seen) == 2  # with and without the conditional dimension


# group=True is what conditional spaces need; Optuna 5 still calls it experimental.
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_grouped_tpe_learns_from_a_conditional_space(space: Space, tmp_path: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    sampler = TPESampler(group=True, multivariate=True, n_startup_trials=8, seed=1)
    study = optuna.create_study(storage=storage, study_name="sweep", sampler=sampler)

    def loss(values: dict[str, Any]) -> float:
        return abs(values["feature_loss.weight"] - 1) + (values["backbone"] != "resnet18") * 5

    asked = {}
    for _ in range(40):
        trial = study.ask()
        asked[trial.number] = space.suggest(trial)
        study.tell(trial, loss(asked[trial.number]))
    for trial in study.trials:
        assert space.values_of(trial.params) == asked[trial.number]
        assert space.params_of(asked[trial.number]) == trial.params
    backbones = [asked[number]["backbone"] for number in range(20, 40)]
    assert backbones.count("resnet18") > 12

    again = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal"))), study_name="sweep")
    assert [space.values_of(trial.params) for trial in again.trials] == list(asked.values())


def test_no_parameter_name_ever_has_two_ranges(space: Space) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ranges: dict[str, Any] = {}
    for _ in range(60):
        trial = study.ask()
        space.suggest(trial)
        for name, distribution in trial.distributions.items():
            assert ranges.setdefault(name, distribution) == distribution
    assert "discriminator.frozen_depth[backbone=resnet18]" in ranges


def test_an_enqueued_trial_comes_out_as_it_went_in(space: Space) -> None:
    wanted = {
        "backbone": "resnet18",
        "discriminator.frozen_depth": 1,
        "feature_loss.layers": ["layer1", "layer2"],
        "feature_loss.weight": 0.5,
        "optimizer.trunk_lr_multiplier": 0.1,
    }
    study = optuna.create_study()
    study.enqueue_trial(space.params_of(wanted))
    assert space.suggest(study.ask()) == {**wanted, "feature_loss.layers": ("layer1", "layer2")}


def test_round_trips(space: Space) -> None:
    assert Space.parse(space.to_data()) == space
    assert Space.parse(yaml.safe_load(yaml.safe_dump(space.to_data(), sort_keys=False))) == space
    assert pickle.loads(pickle.dumps(space)) == space
    assert Space.parse(dict(reversed([("a", {"int": {"low": 0, "high": 1}}), ("b", {"choice": [1]})]))) != Space.parse(
        {"a": {"int": {"low": 0, "high": 1}}, "b": {"choice": [1]}}
    )


def test_tells_what_the_tuner_must_check(space: Space) -> None:
    assert space.branches("feature_loss.weight") == [({}, Float(low=0.01, high=10, log=True))]
    assert space.branches("discriminator.frozen_depth") == [
        ({"backbone": ("efficientnet_lite0", "efficientnet_lite1")}, Int(low=0, high=5)),
        ({"backbone": ("resnet18",)}, Int(low=0, high=4)),
    ]
    assert space.possible("backbone") == ["efficientnet_lite0", "efficientnet_lite1", "resnet18"]
    assert space.possible("discriminator.frozen_depth") == [0, 1, 2, 3, 4, 5]
    assert space.possible("feature_loss.layers")[-1] == ("layer1", "layer2")
    with pytest.raises(ValueError, match="cannot be listed: it is a float"):
        space.possible("feature_loss.weight")
    with pytest.raises(ValueError, match="did you mean 'backbone'"):
        space.branches("bakcbone")
    assert space.describe()[2] == ("discriminator.frozen_depth", "backbone=resnet18", "0..4")
    assert next(iter(space)) == "backbone"
    assert "feature_loss.weight" in space
    assert len(space) == 5


def test_reports_all_problems_at_once_in_the_order_of_the_input() -> None:
    problems = problems_of(
        """
        backbone: {choice: [a, b, a]}
        weight: {flaot: {low: 1, high: 2}}
        depth:
          - {when: {backbone: z}, int: {low: 0, high: 1}}
          - {when: {colour: red}, int: {low: 3, high: 1}}
        size: {choice: [s, m]}
        rate:
          - {when: {size: xl}, float: {low: 0, high: 1}}
        """
    )
    assert list(problems) == ["backbone.choice", "weight.flaot", "depth[1].int", "rate[0].when.size"]
    assert "did you mean 'float'" in problems["weight.flaot"]
    # `backbone` itself could not be read, so what it can take is not known: no second problem for it.
    assert problems["rate[0].when.size"] == "'size' can never be 'xl'. Valid: s | m"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("3", "", "a search space must be a mapping"),
        ("{}", "", "at least one dimension"),
        ("a: 3", "a", "a dimension must be .* but got 3"),
        ("a: []", "a", "a list of branches must have at least one"),
        ("a: {}", "a", "must have exactly one of float, int, choice, but got none"),
        ("a: {int: {low: 0, high: 1}, choice: [1]}", "a", "exactly one of .* but got int, choice"),
        ("a: {int: [0, 5]}", "a.int", r"must be a mapping \{low: …, high: …, log: …\}, but got \[0, 5\]"),
        ("a: {int: {low: 0, high: 1, lgo: true}}", "a.int.lgo", "unknown key 'lgo'; did you mean"),
        ("a: {int: {low: 0}}", "a.int.high", "is required"),
        ("a: {int: {low: 0, high: 1.5}}", "a.int.high", "must be a valid integer, but got 1.5"),
        ("a: {float: {low: x, high: 1}}", "a.float.low", "must be a number, but got 'x'"),
        ("a: {float: {low: 0, high: 1, log: 3}}", "a.float.log", "must be a valid boolean, but got 3"),
        ("a: {float: {low: 0, high: 1, log: true}}", "a.float", "low > 0 must hold"),
        ("a: {choice: []}", "a.choice", "at least one choice"),
        ("a: {choice: 3}", "a.choice", "choices must be a list, but got 3"),
        ("a b: {choice: [1]}", "a b", "must be a dotted path"),
        ("{a: {choice: [1]}, a.b: {choice: [1]}}", "a.b", "lies inside 'a'"),
        ("{a: {choice: [1]}, b: {when: 3, choice: [1]}}", "b.when", "must be a mapping of a dimension to its values"),
        ("{a: {choice: [1]}, b: {when: {a: {c: 1}}, choice: [1]}}", "b.when.a", "must be a value or a list of values"),
        ("{a: {choice: [1]}, b: {when: {c: 1}, choice: [1]}, c: {choice: [1]}}", "b[0].when.c", "move 'c' up"),
        ("{b: {when: {b: 1}, choice: [1]}}", "b[0].when.b", "listed earlier"),
        ("{back: {choice: [1]}, b: {when: {bcak: 1}, choice: [1]}}", "b[0].when.bcak", "did you mean 'back'"),
        ("{a: {int: {low: 0, high: 2}}, b: {when: {a: 3}, choice: [1]}}", "b[0].when.a", r"can never be 3. Valid: 0..2"),
        ("{a: {choice: [1]}, b: {when: {a: true}, choice: [1]}}", "b[0].when.a", "can never be True"),
        ("{a: {float: {low: 0, high: 2}}, b: {when: {a: 1}, choice: [1]}}", "b[0].when.a", "but 'a' is a float"),
        ("{a: {choice: [1]}, b: [{when: {a: 1}, choice: [1]}, {choice: [2]}]}", "b[1]", "must have a `when`"),
        (
            "{a: {choice: [1, 2]}, b: [{when: {a: [1, 2]}, choice: [1]}, {when: {a: 2}, choice: [2]}]}",
            "b[1]",
            "could hold together with branch 0",
        ),
        (
            "{a: {choice: [1, 2]}, c: {choice: [1]}, b: [{when: {a: 1}, choice: [1]}, {when: {c: 1}, choice: [2]}]}",
            "b[1]",
            "could hold together with branch 0",
        ),
    ],
)
def test_names_what_is_wrong_and_where(text: str, path: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        Space.parse(yaml.safe_load(text))
    assert [problem.path for problem in caught.value.problems] == [path]


def test_built_in_code_it_is_checked_alike() -> None:
    branches = [Branch(Int(low=0, high=1), {"backbone": ("c",)})]
    with pytest.raises(SpaceError, match=r"depth\[0\].when.backbone: 'backbone' can never be 'c'. Valid: a | b"):
        Space({"backbone": Choice(choices=["a", "b"]), "depth": branches})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "vgg16"}, "backbone: must be one of efficientnet_lite0"),
        ({"feature_loss.weight": 11.0}, r"feature_loss.weight: must lie in 0.01..10 \(log\), but got 11.0"),
        ({"feature_loss.weihgt": 1.0}, "unknown parameter 'feature_loss.weihgt'; did you mean 'feature_loss.weight'"),
        ({"feature_loss.weight": None}, "feature_loss.weight: is missing"),
    ],
)
def test_a_stored_trial_of_another_space_is_refused(space: Space, change: dict[str, Any], message: str) -> None:
    params = space.params_of(
        {
            "backbone": "efficientnet_lite0",
            "discriminator.frozen_depth": 2,
            "feature_loss.layers": ["blocks.1"],
            "feature_loss.weight": 1,
        }
    )
    changed = {name: value for name, value in {**params, **change}.items() if value is not None}
    with pytest.raises(SpaceError, match=message):
        space.values_of(changed)


def test_impossible_values_are_refused_together(space: Space) -> None:
    values = {"backbone": "resnet18", "discriminator.frozen_depth": 5, "feature_loss.layers": ["layer1"], "colour": 1}
    with pytest.raises(SpaceError) as caught:
        space.params_of({**values, "optimizer.trunk_lr_multiplier": 0.1})
    assert dict(caught.value.problems).keys() == {
        "colour",
        "discriminator.frozen_depth",
        "feature_loss.weight",
        "optimizer.trunk_lr_multiplier",
    }


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_sound(name: str) -> None:
    preset = Space.preset(name)
    assert Space.parse(preset.to_data()) == preset
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        assert space_keys_subset(preset, preset.suggest(trial))


def space_keys_subset(space: Space, values: dict[str, Any]) -> bool:
    return set(values) <= set(space)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(SpaceError, match="unknown preset 'few_shot_genration'; did you mean 'few_shot_generation'"):
        Space.preset("few_shot_genration")


STARTS = """
backbone: {choice: [efficientnet_lite0, resnet18]}
discriminator.frozen_depth:
  - {when: {backbone: resnet18}, int: {low: 0, high: 4}}
regularisers.0.gamma: {float: {low: 0.1, high: 10}}
starts:
  deep: {backbone: resnet18, discriminator.frozen_depth: 4}
  plain: {backbone: efficientnet_lite0}
"""


def test_a_space_may_name_starting_points() -> None:
    space = Space.parse(yaml.safe_load(STARTS))
    assert list(space) == ["backbone", "discriminator.frozen_depth", "regularisers.0.gamma"]
    assert space.starts == {
        "deep": {"backbone": "resnet18", "discriminator.frozen_depth": 4},
        "plain": {"backbone": "efficientnet_lite0"},
    }
    assert Space.parse(space.to_data()) == space
    assert space != Space.parse({key: value for key, value in yaml.safe_load(STARTS).items() if key != "starts"})
    params = space.params_of(space.starts["deep"], partial=True)
    assert params == {"backbone": "resnet18", "discriminator.frozen_depth[backbone=resnet18]": 4}
    study = optuna.create_study(sampler=TPESampler(seed=0))
    study.enqueue_trial(params)
    values = space.suggest(study.ask())
    assert values["discriminator.frozen_depth"] == 4
    assert 0.1 <= values["regularisers.0.gamma"] <= 10


def test_starting_points_outside_the_space_are_refused() -> None:
    wrong = STARTS.replace("discriminator.frozen_depth: 4}", "discriminator.frozen_depth: 5, colour: red}")
    assert problems_of(wrong) == {
        "starts.deep.colour": "unknown dimension 'colour'. Valid: backbone, discriminator.frozen_depth, regularisers.0.gamma",
        "starts.deep.discriminator.frozen_depth": "must be in 0..4, but got 5",
    }
    wrong = STARTS.replace("plain: {backbone: efficientnet_lite0}", "plain: {discriminator.frozen_depth: 1}")
    assert problems_of(wrong) == {"starts.plain.discriminator.frozen_depth": "is given, although none of its conditions holds"}
    assert problems_of("backbone: {choice: [a, b]}\nstarts: [a]") == {
        "starts": "must be names of starting points, each with values by dotted path"
    }
