from __future__ import annotations

import json
import pickle
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, distribution_to_json, json_to_distribution
from pydantic import ValidationError

from search_spaces import Choice, Dimension, Float, Int

DIMENSIONS: list[Dimension] = [
    Float(low=1e-3, high=100, log=True),
    Float(low=-1, high=1),
    Float(low=2, high=2),
    Int(low=0, high=5),
    Int(low=1, high=64, log=True),
    Choice(choices=["resnet18", "vgg16"]),
    Choice(choices=[None, True, 3, 0.5, "a"]),
    Choice(choices=[["blocks.1"], ["blocks.1", "blocks.2"], []]),
]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.describe())
def test_suggests_inside_itself_and_comes_back_from_optuna_storage(dimension: Dimension) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        value = dimension.suggest(trial, "x")
        assert value in dimension
        stored = json.loads(json.dumps(trial.params["x"]))  # what a journal keeps
        assert dimension.from_param(stored) == value
        assert dimension.to_param(value) == stored
    assert pickle.loads(pickle.dumps(dimension)) == dimension


def test_list_choices_are_strings_in_optuna_and_tuples_outside() -> None:
    trial = optuna.create_study().ask({"layers": CategoricalDistribution(["blocks.1+blocks.2"])})
    choice = Choice(choices=[["blocks.1", "blocks.2"]])
    assert choice.suggest(trial, "layers") == ("blocks.1", "blocks.2")
    stored = json_to_distribution(distribution_to_json(trial.distributions["layers"]))
    assert stored == CategoricalDistribution(["blocks.1+blocks.2"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(low=2, high=1), r"low <= high must hold, but got low=2.0, high=1.0"),
        (lambda: Int(low=2, high=1), r"low <= high must hold, but got low=2, high=1"),
        (lambda: Float(low=0, high=1, log=True), r"low > 0 must hold for a log range, but got low=0.0"),
        (lambda: Int(low=0, high=1, log=True), r"low > 0 must hold for a log range, but got low=0"),
        (lambda: Float(low=float("nan"), high=1), "finite"),
        (lambda: Float(low=0, high=float("inf")), "finite"),
        (lambda: Float(low=-1e308, high=1e308), r"high - low must be a number that fits in 64 bits"),
        (lambda: Int(low=0, high=10**40), r"less than or equal to 9007199254740992"),
        (lambda: Float(low=True, high=2), "must be a number"),
        (lambda: Float(low="three", high=2), "must be a number"),
        (lambda: Int(low=0.5, high=2), "valid integer"),
        (lambda: Int(low=False, high=2), "valid integer"),
        (lambda: Choice(choices=[]), "at least one choice"),
        (lambda: Choice(choices="ab"), "must be a list"),
        (lambda: Choice(choices=["a", "b", "a"]), "choices must differ, but 'a' repeats 'a'"),
        (lambda: Choice(choices=[1, True]), "choices must differ, but True repeats 1"),
        (lambda: Choice(choices=[["a", "b"], "a+b"]), r"choices must differ, but 'a\+b' repeats \['a', 'b'\]"),
        (lambda: Choice(choices=[{"a": 1}]), "a choice must be null"),
        (lambda: Choice(choices=[[["a"]]]), "a choice must be null"),
        (lambda: Choice(choices=[float("nan")]), "must be finite"),
        (lambda: Choice(choices=["1e-3"]), r"YAML wants a dot, as in 1.0e-3"),
    ],
)
def test_refuses_what_cannot_be_searched(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_membership_does_not_take_booleans_for_numbers() -> None:
    assert True not in Int(low=0, high=1)
    assert True not in Float(low=0, high=1)
    assert True not in Choice(choices=[0, 1])
    assert 1 in Float(low=0, high=1)
    assert 0.5 not in Int(low=0, high=1)
    assert ("a", "b") in Choice(choices=[["a", "b"]])


@pytest.mark.parametrize(
    ("dimension", "text"),
    [
        (Float(low=1e-3, high=100, log=True), "1e-3..100 (log)"),
        (Float(low=1e-5, high=2.5e-3, log=True), "1e-5..2.5e-3 (log)"),
        (Float(low=0.01, high=1), "0.01..1"),
        (Int(low=0, high=5), "0..5"),
        (Choice(choices=[["a", "b"], "c", []]), "a+b | c | []"),
    ],
)
def test_describes_itself_in_short(dimension: Dimension, text: str) -> None:
    assert dimension.describe() == text


def test_a_float_without_a_dot_in_yaml_is_still_a_number() -> None:
    assert Float.model_validate({"low": "1e-3", "high": "1e2"}) == Float(low=0.001, high=100)
