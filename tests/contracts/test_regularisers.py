"""What every entry of REGULARISERS promises, by its being registered; then the formula of each."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
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
def test_its_value_is_without_weight_and_interval(name: str) -> None:
    options = REGULARISERS[name].Options(weight=7, every=3)
    assert (options.weight, options.every) == (7, 3)
    assert torch.equal(REGULARISERS[name](options)(a_step(), ALONE), build(name)(a_step(), ALONE))


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
    (options,) = specs.validate_python([{"name": name, "weight": 2, "every": 4}])
    assert type(options) is REGULARISERS[name].Options
    for wrong in ({"weight": -1}, {"every": 0}, {"weight": math.inf}, {"intervall": 2}):
        with pytest.raises(ValidationError):
            specs.validate_python([{"name": name, **wrong}])
    with pytest.raises(ValidationError, match="'r1', 'r2'"):
        specs.validate_python([{"name": "r3"}])


# Gradients


class Linear(nn.Module):
    """D(x) = <w, x> over whole images."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [(images * self.w).sum(dim=(1, 2, 3)).view(-1, 1, 1, 1)]


def linear_step(w: Tensor) -> DiscriminatorStep:
    images = torch.rand(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return DiscriminatorStep(
        logits=Linear(w), real=images[0], fake=images[1], real_logits=[], fake_logits=[], mix=torch.tensor([0, 0.3, 0.6, 0.9])
    )


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_r1_and_r2_of_a_linear_d_are_the_square_of_its_weights(name: str) -> None:
    w = torch.linspace(-1, 2, 12).view(3, 2, 2)
    step = linear_step(w)
    value = build(name)(step, ALONE)
    torch.testing.assert_close(value.detach(), w.square().sum())
    value.backward()
    torch.testing.assert_close(step.logits.w.grad, 2 * w)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "images"), [("r1", "real"), ("r2", "fake")])
def test_r1_is_of_real_and_r2_of_generated_images_by_hand(name: str, images: str) -> None:
    """D(x) = Σ x² / 2 has the gradient x: E ||x||²."""
    step = linear_step(torch.zeros(3, 2, 2))
    step = DiscriminatorStep(**{**vars(step), "logits": lambda x: [x.square().sum(dim=(1, 2, 3)) / 2]})
    torch.testing.assert_close(build(name)(step, ALONE).detach(), getattr(step, images).square().sum(dim=(1, 2, 3)).mean())


def test_gradient_penalty_wants_the_gradients_norm_to_be_one() -> None:
    w = torch.zeros(3, 2, 2)
    w[0, 0, 0], w[1, 1, 1] = 3, 4
    assert float(build("gradient_penalty")(linear_step(w), ALONE).detach()) == pytest.approx((5 - 1) ** 2)
    flat = build("gradient_penalty")(step := linear_step(torch.zeros(3, 2, 2)), ALONE)
    flat.backward()
    assert float(flat.detach()) == 1
    assert step.logits.w.grad.isfinite().all()  # type: ignore[attr-defined]


def test_gradient_penalty_is_taken_between_the_pairs() -> None:
    """At ε = 1 it is the real image, at 0 the generated one."""
    seen: list[Tensor] = []

    def logits(images: Tensor) -> list[Tensor]:
        seen.append(images.detach())
        return [images.square().sum(dim=(1, 2, 3))]

    step = DiscriminatorStep(**{**vars(linear_step(torch.ones(3, 2, 2))), "logits": logits})
    build("gradient_penalty")(step, ALONE)
    for i, share in enumerate(step.mix):
        torch.testing.assert_close(seen[0][i], share * step.real[i] + (1 - share) * step.fake[i])


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_second_derivatives_through_batch_norm_and_spectral_norm_are_right(name: str) -> None:
    """Against finite differences in a weight of the trunk and one of a head, in float64."""
    discriminator, pretrained = moved(SmallDiscriminator()).eval().double(), SmallDiscriminator().double()
    step = step_of(discriminator, pretrained)
    build(name)(step, ALONE).backward()
    for key in ("trunk.0.weight", "heads.1.parametrizations.weight.original"):
        parameter = discriminator.get_parameter(key)
        values = []
        for change in (1e-5, -2e-5):
            with torch.no_grad():
                parameter[0, 1, 0, 0] += change
            values.append(float(build(name)(step, ALONE).detach()))
        with torch.no_grad():
            parameter[0, 1, 0, 0] += 1e-5
        assert float(parameter.grad[0, 1, 0, 0]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)  # type: ignore[index]


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
def test_gradient_penalties_are_float32_inside_autocast_and_eager_on_a_compiled_d(name: str) -> None:
    discriminator = moved(SmallDiscriminator())
    plain = step_of(copy.deepcopy(discriminator), SmallDiscriminator())
    compiled = step_of(discriminator, SmallDiscriminator())
    compiled = DiscriminatorStep(**{**vars(compiled), "logits": torch.compile(discriminator, backend="aot_eager")})
    wanted = build(name)(plain, ALONE)
    wanted.backward()
    with torch.autocast("cpu", torch.bfloat16):
        value = build(name)(compiled, ALONE)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value, wanted)
    for (_, got), (_, expected) in zip(compiled.trained, plain.trained, strict=True):
        assert (got.grad is None) == (expected.grad is None)
        assert got.grad is None or torch.equal(got.grad, expected.grad)  # type: ignore[arg-type]


# LeCam


def lecam_step(real: list[float], fake: list[float]) -> DiscriminatorStep:
    logits = [[torch.tensor(values).view(-1, 1, 1, 1)] for values in (real, fake)]
    nothing = torch.empty(0)
    return DiscriminatorStep(
        logits=lambda _: [], real=nothing, fake=nothing, real_logits=logits[0], fake_logits=logits[1], mix=nothing
    )


def test_lecam_by_hand() -> None:
    """Averages 2 and -1 at first, then 0.9 · 2 + 0.1 · 4 and 0.9 · -1 + 0.1 · 1."""
    lecam = build("lecam", decay=0.9)
    first = float(lecam(lecam_step([1.0, 3.0], [-1.0, -1.0]), ALONE))
    assert first == pytest.approx(((1 + 1) ** 2 + (3 + 1) ** 2) / 2 + (-1 - 2) ** 2)
    second = float(lecam(lecam_step([4.0], [1.0]), ALONE))
    assert second == pytest.approx((4 + 0.8) ** 2 + (1 - 2.2) ** 2, rel=1e-6)


def test_lecam_keeps_an_average_for_each_head_without_gradient() -> None:
    lecam = build("lecam")
    lecam(a_step(), ALONE)
    averages: Mapping[str, Tensor] = lecam.state_dict()
    assert {name: tuple(x.shape) for name, x in averages.items()} == {"real_average": (2,), "fake_average": (2,)}
    assert not any(x.requires_grad for x in lecam.buffers())


# Staying near the start


def test_l2_sp_by_hand() -> None:
    """½ ((3 - 1)² + 0² + (0 - 2)²), whose gradient is the way moved."""
    w = nn.Parameter(torch.tensor([3.0, 5.0, 0.0]))
    step = lecam_step([0.0], [0.0])
    step = DiscriminatorStep(**{**vars(step), "trained": [("w", w)], "initial": {"w": torch.tensor([1.0, 5.0, 2.0])}})
    value = build("l2_sp")(step, ALONE)
    value.backward()
    assert float(value.detach()) == pytest.approx(4)
    assert torch.equal(w.grad, torch.tensor([2.0, 0.0, -2.0]))  # type: ignore[arg-type]


def test_feature_distillation_by_hand() -> None:
    """Directions (0.6, 0.8) and (1, 0): 0.4² + 0.8² = 0.8; the second layer only grew. Their mean is 0.4."""
    seen = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[10.0, 0.0]])}
    wanted = {"a": torch.tensor([[5.0, 0.0]]), "b": torch.tensor([[1.0, 0.0]])}
    step = lecam_step([0.0], [0.0])
    step = DiscriminatorStep(**{**vars(step), "features": lambda _: seen, "initial_features": lambda _: wanted})
    assert float(build("feature_distillation")(step, ALONE)) == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["l2_sp", "feature_distillation"])
def test_a_discriminator_that_has_not_moved_costs_nothing(name: str) -> None:
    discriminator = SmallDiscriminator()
    assert float(build(name)(step_of(discriminator, SmallDiscriminator()), ALONE).detach()) == 0
