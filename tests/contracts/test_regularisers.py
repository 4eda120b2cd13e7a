"""What every entry of REGULARISERS promises, by its being registered."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from trainables.collective import Collective
from trainables.losses import REGULARISERS, DiscriminatorStep, Regulariser
from trainables.registry import options_union

ALONE = Collective()
every_regulariser = pytest.mark.parametrize("name", REGULARISERS)


class SmallDiscriminator(nn.Module):
    """A trunk with BatchNorm in eval mode and spectrally normalised heads, like the real ones."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU())
            self.heads = nn.ModuleList(spectral_norm(nn.Conv2d(4, 1, side)) for side in (1, 3))
            nn.init.uniform_(self.trunk[1].running_var, 0.5, 2)  # type: ignore[arg-type]
        self.trunk.eval()

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"first": self.trunk[0](images), "last": self.trunk(images)}

    def forward(self, images: Tensor) -> list[Tensor]:
        return [head(self.trunk(images)) for head in self.heads]


def moved(discriminator: nn.Module) -> nn.Module:
    """The same a little later in training."""
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(1.1)
    return discriminator


def step_of(discriminator: Any, pretrained: Any, seed: int = 1, rows: slice = slice(None), count: int = 4) -> DiscriminatorStep:
    """A step on this share of a batch of random images."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(discriminator.parameters()).dtype
    real, fake = (torch.rand(count, 3, 5, 5, generator=generator, dtype=dtype)[rows] * 2 - 1 for _ in range(2))
    return DiscriminatorStep(
        logits=discriminator,
        real=real,
        fake=fake,
        real_logits=discriminator(real),
        fake_logits=discriminator(fake),
        mix=torch.rand(count, generator=generator, dtype=dtype)[rows],
        batch_size=count,
        trained=list(discriminator.named_parameters()),
        initial={name: p.detach().clone() for name, p in pretrained.named_parameters()},
        features=discriminator.features,
        initial_features=pretrained.features,
    )


def a_step(**changes: Any) -> DiscriminatorStep:
    """Of a discriminator that has moved from its pretrained values; still, so that forwards do not move its spectral norms."""
    return step_of(moved(SmallDiscriminator()).eval(), SmallDiscriminator(), **changes)


def build(name: str, **options: Any) -> Regulariser:
    return REGULARISERS[name](REGULARISERS[name].Options(**options))


def strength_of(name: str) -> str:
    """The option that says how strong it is: a weight, or γ, of which the loss takes half."""
    (key,) = {"weight", "gamma"} & set(REGULARISERS[name].Options.model_fields)
    return key


@every_regulariser
def test_it_is_a_finite_scalar_above_zero_with_gradients_for_d(name: str) -> None:
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
def test_it_pulls_d_the_right_way(name: str) -> None:
    """A small step against the gradient makes it smaller."""
    discriminator, pretrained = moved(SmallDiscriminator()).eval().double(), SmallDiscriminator().double()
    regulariser = build(name)
    before = copy.deepcopy(regulariser)(step := step_of(discriminator, pretrained), ALONE)
    before.backward()
    with torch.no_grad():
        for _, p in step.trained:
            if p.grad is not None:
                p.sub_(1e-4 * p.grad)
    assert regulariser(step_of(discriminator, pretrained), ALONE) < before


@every_regulariser
def test_its_value_is_without_strength_and_interval(name: str) -> None:
    strong = build(name, **{strength_of(name): 7}, every=3)
    assert torch.equal(strong(a_step(), ALONE), build(name)(a_step(), ALONE))
    assert strong.strength(a_step()) == (3.5 if strength_of(name) == "gamma" else 7)
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
    step, kind = a_step(), REGULARISERS[name]
    left_out: dict[str, Any] = {} if kind.needs_initial else {"initial": None}
    if not kind.needs_trunk:
        left_out |= {"features": None, "initial_features": None}
    assert torch.equal(build(name)(DiscriminatorStep(**{**vars(step), **left_out}), ALONE), build(name)(step, ALONE))


@every_regulariser
def test_its_options_are_known_by_name(name: str) -> None:
    specs: Any = TypeAdapter(list[options_union(REGULARISERS)])  # type: ignore[misc]
    key = strength_of(name)
    (options,) = specs.validate_python([{"name": name, key: 2, "every": 4}])
    assert type(options) is REGULARISERS[name].Options
    for wrong in ({key: -1}, {"every": 0}, {key: math.inf}, {"intervall": 2}):
        with pytest.raises(ValidationError):
            specs.validate_python([{"name": name, **wrong}])
    with pytest.raises(ValidationError, match="'r1', 'r2'"):
        specs.validate_python([{"name": "r3"}])
