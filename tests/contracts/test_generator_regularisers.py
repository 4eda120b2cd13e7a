"""What every entry of GENERATOR_REGULARISERS promises, by its being registered."""

from __future__ import annotations

import copy
import io
import math
from functools import partial
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from tests.contracts.trials import entry
from trainables.collective import Collective
from trainables.generators import GENERATORS, Frame
from trainables.losses import GENERATOR_REGULARISERS, GeneratorStep, Regulariser
from trainables.networks import features_of
from trainables.registry import options_union

ALONE = Collective()
every_regulariser = pytest.mark.parametrize("name", GENERATOR_REGULARISERS)


def generator(dtype: torch.dtype = torch.float32) -> nn.Module:
    """A small one, made of styles."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = GENERATORS["stylegan2"].Options(**entry("stylegan2"))
        network: nn.Module = GENERATORS["stylegan2"](options, Frame(16), None)
        return network.to(dtype)


def moved(network: nn.Module) -> nn.Module:
    """The same a little later in training."""
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=draws).to(parameter)
    return network


def step_of(network: Any, pretrained: Any, seed: int = 1, count: int = 4) -> GeneratorStep:
    """A step on latents of this seed."""
    z = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)).to(next(network.parameters()))
    return GeneratorStep(
        generator=network,
        inputs=z,
        places=range(count),
        trained=list(network.named_parameters()),
        initial={name: p.detach().clone() for name, p in pretrained.named_parameters()},
        features=partial(features_of, network),
        initial_features=partial(features_of, pretrained),
    )


def a_step(**changes: Any) -> GeneratorStep:
    """Of a generator that has moved from its pretrained values."""
    return step_of(moved(generator()), generator(), **changes)


def build(name: str, **options: Any) -> Regulariser[GeneratorStep]:
    return GENERATOR_REGULARISERS[name](GENERATOR_REGULARISERS[name].Options(**options))


@every_regulariser
def test_it_is_a_finite_scalar_above_zero_with_gradients_for_g(name: str) -> None:
    step = a_step()
    value = build(name)(step, ALONE)
    assert value.shape == ()
    assert value.isfinite()
    assert value > 0
    assert all(p.grad is None for _, p in step.trained), "computing it leaves no gradients behind"
    value.backward()
    gradients = [p.grad for _, p in step.trained if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


@every_regulariser
def test_it_pulls_g_the_right_way(name: str) -> None:
    """A small step against the gradient makes it smaller."""
    network, pretrained = moved(generator(torch.float64)), generator(torch.float64)
    regulariser = build(name)
    before = copy.deepcopy(regulariser)(step := step_of(network, pretrained), ALONE)
    before.backward()
    with torch.no_grad():
        for _, p in step.trained:
            if p.grad is not None:
                p.sub_(1e-5 * p.grad)  # leaky ReLU has corners, at which a length jumps
    assert regulariser(step_of(network, pretrained), ALONE) < before


@every_regulariser
def test_its_value_is_without_strength_and_interval(name: str) -> None:
    strong = build(name, weight=7, every=3)
    assert torch.equal(strong(a_step(), ALONE), build(name)(a_step(), ALONE))
    assert strong.strength(a_step()) == 7
    assert strong.options.every == 3
    assert build(name).strength(a_step()) > 0


@every_regulariser
def test_its_state_resumes_exactly(name: str) -> None:
    running = build(name)
    for seed in range(3):
        running(a_step(seed=seed), ALONE)
    file = io.BytesIO()
    torch.save(running.state_dict(), file)
    file.seek(0)
    resumed = build(name)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        assert torch.equal(resumed(a_step(seed=seed), ALONE), running(a_step(seed=seed), ALONE))


@every_regulariser
def test_it_needs_only_what_it_says(name: str) -> None:
    step, kind = a_step(), GENERATOR_REGULARISERS[name]
    left_out: dict[str, Any] = {} if kind.needs_initial else {"initial": None}
    if not kind.needs_start:
        left_out |= {"features": None, "initial_features": None}
    if not kind.needs_styles:
        left_out |= {"generator": None}
    assert torch.equal(build(name)(GeneratorStep(**{**vars(step), **left_out}), ALONE), build(name)(step, ALONE))


@every_regulariser
def test_it_says_the_same_of_the_same_latents_again(name: str) -> None:
    """Noise that a generator's layers add, style mixing and what the regulariser draws are keyed by the latents."""
    torch.manual_seed(1)
    first = build(name)(a_step(), ALONE)
    torch.manual_seed(2)
    assert torch.equal(build(name)(a_step(), ALONE), first)


@every_regulariser
def test_its_options_are_known_by_name(name: str) -> None:
    specs: Any = TypeAdapter(list[options_union(GENERATOR_REGULARISERS)])  # type: ignore[misc]
    (options,) = specs.validate_python([{"name": name, "weight": 2, "every": 4}])
    assert type(options) is GENERATOR_REGULARISERS[name].Options
    for wrong in ({"weight": -1}, {"every": 0}, {"weight": math.inf}, {"intervall": 2}):
        with pytest.raises(ValidationError):
            specs.validate_python([{"name": name, **wrong}])
    with pytest.raises(ValidationError, match="'path_length'"):
        specs.validate_python([{"name": "path_lenght"}])
