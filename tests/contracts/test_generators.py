"""What every entry of GENERATORS promises, by its being registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.generators import GENERATORS, Frame

every_generator = pytest.mark.parametrize("name", GENERATORS)


def build(name: str, resolution: int = 32, seed: int = 0, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GENERATORS[name](GENERATORS[name].Options(**options), Frame(resolution), pytest.fail)


def latents(count: int, z_dim: int) -> torch.Tensor:
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(1))


@every_generator
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_images_have_the_resolution_and_lie_between_minus_one_and_one(name: str, resolution: int) -> None:
    generator = build(name, resolution)
    pictures = generator(latents(3, generator.z_dim) * 10)
    assert pictures.shape == (3, 3, resolution, resolution)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1
    assert not torch.allclose(pictures[0], pictures[1]), "the latent must matter"


@every_generator
def test_gradients_reach_the_latents_and_every_parameter(name: str) -> None:
    generator = build(name)
    z = latents(2, generator.z_dim).requires_grad_()
    weights = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    (generator(z) * weights).sum().backward()
    for what, tensor in [("z", z), *generator.named_parameters()]:
        assert tensor.grad is not None, what
        assert tensor.grad.isfinite().all(), what
        assert tensor.grad.abs().sum() > 0, what


@every_generator
@pytest.mark.parametrize("training", [True, False])
def test_a_picture_does_not_depend_on_who_shares_the_batch(name: str, training: bool) -> None:
    generator = build(name).train(training)
    z = latents(5, generator.z_dim)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    with torch.no_grad():
        assert_same_up_to_summation(generator(z[1:2]), generator(z)[1:2])
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items()), "a forward changes nothing"


@every_generator
def test_the_seed_decides_the_parameters(name: str) -> None:
    first, again, other = (build(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_generator
def test_a_state_dict_is_all_there_is(name: str) -> None:
    first, other = build(name, seed=1), build(name, seed=2)
    other.load_state_dict(first.state_dict())
    z = latents(2, first.z_dim)
    assert torch.equal(first(z), other(z))


@every_generator
def test_options_name_their_component_and_refuse_unknown_keys(name: str) -> None:
    options = GENERATORS[name].Options
    assert options().name == name
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options(z_dimm=3)
    with pytest.raises(ValidationError, match="frozen"):
        options().z_dim = 3


@every_generator
def test_a_resolution_that_does_not_fit_is_refused_with_the_same_words(name: str) -> None:
    generator, options = GENERATORS[name], GENERATORS[name].Options()
    for resolution in (8, 32, 33, 48, 128):
        problem = generator.unfit(options, Frame(resolution), None)
        if problem is None:
            continue
        assert str(resolution) in problem
        with pytest.raises(ValueError, match="resolution") as caught:
            build(name, resolution)
        assert problem in str(caught.value)
    assert generator.unfit(options, Frame(32), None) is None
