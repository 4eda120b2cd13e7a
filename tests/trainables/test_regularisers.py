"""The formula of each regulariser of D, worked by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.test_regularisers import ALONE, SmallDiscriminator, a_step, build, moved, step_of
from trainables.losses import DiscriminatorStep

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
        logits=Linear(w),
        real=images[0],
        fake=images[1],
        real_logits=[],
        fake_logits=[],
        mix=torch.tensor([0, 0.3, 0.6, 0.9]),
        batch_size=4,
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


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_gradients_of_r1_and_r2_are_of_the_sum_over_positions_and_heads(name: str) -> None:
    """As in the StyleGANs' code, whose γ would else mean something else: heads of 4 and 2 logits, x and 2 x in all of them."""
    step = linear_step(torch.ones(3, 2, 2))

    def logits(images: Tensor) -> list[Tensor]:
        x = images.flatten(1).sum(1).view(-1, 1, 1, 1)
        return [x.expand(-1, 1, 2, 2), 2 * x.expand(-1, 1, 1, 2)]

    step = DiscriminatorStep(**{**vars(step), "logits": logits})
    torch.testing.assert_close(build(name)(step, ALONE).detach(), torch.tensor(12.0 * (4 + 2 * 2) ** 2))
    averaged = build("gradient_penalty")(step, ALONE)
    torch.testing.assert_close(averaged.detach(), torch.tensor((12**0.5 * 1.5 - 1) ** 2))


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_gamma_is_the_papers_and_its_heuristic_follows_resolution_and_batch(name: str) -> None:
    images = torch.zeros(2, 3, 256, 256)
    step = DiscriminatorStep(**{**vars(linear_step(torch.zeros(3, 2, 2))), "real": images, "fake": images, "batch_size": 64})
    assert build(name, gamma=10).strength(step) == 5
    assert build(name).strength(step) == pytest.approx(0.0002 * 256**2 / 64 / 2)
    assert build(name, gamma_multiple=3).strength(step) == pytest.approx(3 * build(name).strength(step))
    assert build(name, gamma=0).strength(step) == 0
    with pytest.raises(ValueError, match=r"gamma_multiple is for where gamma is not given, but got 2\.0 beside 1\.0"):
        build(name, gamma=1, gamma_multiple=2)


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
        logits=lambda _: [],
        real=nothing,
        fake=nothing,
        real_logits=logits[0],
        fake_logits=logits[1],
        mix=nothing,
        batch_size=len(real),
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


def test_feature_distillation_needs_a_trunk() -> None:
    step = DiscriminatorStep(**{**vars(a_step()), "features": lambda _: {}, "initial_features": lambda _: {}})
    with pytest.raises(ValueError, match="needs a discriminator with a pretrained trunk"):
        build("feature_distillation")(step, ALONE)


@pytest.mark.parametrize("name", ["l2_sp", "feature_distillation"])
def test_a_discriminator_that_has_not_moved_costs_nothing(name: str) -> None:
    discriminator = SmallDiscriminator()
    assert float(build(name)(step_of(discriminator, SmallDiscriminator()), ALONE).detach()) == 0
