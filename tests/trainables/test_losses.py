"""Closed forms of the losses, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.collective import Collective
from trainables.losses import ADVERSARIAL, Moments, feature_distance, moments

ALONE = Collective()


def head(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_non_saturating_by_hand() -> None:
    loss = ADVERSARIAL["non_saturating"]
    assert float(loss.discriminator([head(0.0)], [head(0.0)])) == pytest.approx(2 * math.log(2))
    assert float(loss.generator([head(0.0)])) == pytest.approx(math.log(2))
    real, fake = [head(2.0, -1.0)], [head(3.0, -4.0)]
    by_hand = (softplus(-2.0) + softplus(1.0)) / 2 + (softplus(3.0) + softplus(-4.0)) / 2
    assert float(loss.discriminator(real, fake)) == pytest.approx(by_hand)
    assert float(loss.generator(fake)) == pytest.approx((softplus(-3.0) + softplus(4.0)) / 2)


def test_non_saturating_is_minus_log_of_the_probability() -> None:
    """Goodfellow's own form: D minimises -log D(x) - log(1 - D(G(z))), G minimises -log D(G(z)), D = sigmoid(logit)."""
    real, fake = torch.linspace(-3, 3, 7).view(-1, 1, 1, 1), torch.linspace(-2, 4, 7).view(-1, 1, 1, 1)
    by_probability = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(ADVERSARIAL["non_saturating"].discriminator([real], [fake]), by_probability)
    torch.testing.assert_close(ADVERSARIAL["non_saturating"].generator([fake]), -fake.sigmoid().log().mean())


def test_non_saturating_gives_g_a_gradient_where_d_is_sure() -> None:
    fake = torch.full((1, 1, 1, 1), -20.0, requires_grad=True)
    ADVERSARIAL["non_saturating"].generator([fake]).backward()
    assert fake.grad is not None
    assert float(fake.grad) == pytest.approx(-1)


def test_hinge_by_hand() -> None:
    loss = ADVERSARIAL["hinge"]
    real, fake = [head(0.5, 2.0)], [head(-2.0, 0.0)]
    assert float(loss.discriminator(real, fake)) == pytest.approx((0.5 + 0) / 2 + (0 + 1) / 2)
    assert float(loss.generator(fake)) == pytest.approx(1.0)


def test_hinge_leaves_what_is_beyond_the_margin_alone() -> None:
    real, fake = head(1.5).requires_grad_(), head(-1.5).requires_grad_()
    ADVERSARIAL["hinge"].discriminator([real], [fake]).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert float(real.grad) == float(fake.grad) == 0


def test_heads_are_averaged() -> None:
    """hinge: head one gives 0.5 + 1, head two 0 + 3."""
    loss = ADVERSARIAL["hinge"].discriminator([head(0.5), head(4.0)], [head(0.0), head(2.0)])
    assert float(loss) == pytest.approx((0.5 + 0) / 2 + (1 + 3) / 2)


# Feature distance


def features(*values: float) -> Tensor:
    """One channel, one value for each sample."""
    return torch.tensor(values).view(-1, 1, 1, 1)


def distance(fake: dict[str, Tensor], real: dict[str, Tensor]) -> Tensor:
    return feature_distance(moments(fake, ALONE), moments(real, ALONE))


def random_features(seed: int, shape: tuple[int, ...] = (4, 3, 5, 5)) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_moments_are_per_channel_over_samples_and_positions() -> None:
    x = random_features(0) + 100
    got = moments({"a": x}, ALONE)["a"]
    of_channels = x.double().permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(got.mean.double(), of_channels.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(got.variance.double(), of_channels.var(1, correction=0), rtol=1e-4, atol=0)


def test_feature_distance_by_hand() -> None:
    """fake 0, 2: mean 1, variance 1. real 0, 4: mean 2, variance 4. ((1-2)² + (1-2)²) / 4 = 0.5."""
    fake, real = features(0.0, 2.0), features(0.0, 4.0)
    assert float(distance({"a": fake}, {"a": real})) == pytest.approx(0.5, rel=1e-6)


def test_layers_and_channels_add_up_by_hand() -> None:
    """Two channels: (0.5 · 4 + (3-1)² + (1-1)²) / (4 + 1), where the second has means 3 and 1 and variance 1 in both."""
    fake = torch.cat([features(0.0, 2.0), features(2.0, 4.0)], dim=1)
    real = torch.cat([features(0.0, 4.0), features(0.0, 2.0)], dim=1)
    one_layer = (0.5 * 4 + 4) / 5
    assert float(distance({"a": fake}, {"a": real})) == pytest.approx(one_layer, rel=1e-6)
    two_layers = distance({"a": fake, "b": features(0.0, 2.0)}, {"a": real, "b": features(0.0, 4.0)})
    assert float(two_layers) == pytest.approx(one_layer + 0.5, rel=1e-6)


def test_the_same_moments_are_at_no_distance() -> None:
    x = random_features(0)
    assert float(distance({"a": x.flip(0)}, {"a": x})) == pytest.approx(0, abs=1e-10)
    # Unpaired: other samples with the same moments are as good.
    assert float(distance({"a": features(1.0, -1.0, 1.0, -1.0)}, {"a": features(1.0, 1.0, -1.0, -1.0)})) == 0


def test_a_collapsed_generator_is_at_a_distance() -> None:
    """Every picture at the mean feature: the per-sample form's optimum. Here it costs Σσ² / Σσ² = 1."""
    real = random_features(0)
    mean = real.mean(dim=(0, 2, 3), keepdim=True).expand_as(real)
    assert float(distance({"a": mean}, {"a": real})) == pytest.approx(1, rel=1e-3)


def test_the_scale_of_a_layer_does_not_matter() -> None:
    fake, real = random_features(1), random_features(2) + 0.5
    base = distance({"a": fake}, {"a": real})
    for scale in (0.1, 1000.0):
        torch.testing.assert_close(distance({"a": fake * scale}, {"a": real * scale}), base, rtol=1e-4, atol=0)


def test_dead_channels_give_no_nan() -> None:
    fake, real = torch.zeros(2, 3, 2, 2, requires_grad=True), torch.zeros(2, 3, 2, 2)
    loss = distance({"a": fake}, {"a": real})
    loss.backward()
    assert float(loss.detach()) == 0
    assert fake.grad is not None
    assert fake.grad.isfinite().all()


def test_the_gradient_is_that_of_the_formula() -> None:
    """Against finite differences, in float64."""
    real = {"a": Moments(torch.tensor([0.3, -0.2], dtype=torch.double), torch.tensor([1.5, 0.4], dtype=torch.double))}
    fake = random_features(3, (3, 2, 2, 2)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: feature_distance(moments({"a": x}, ALONE), real), (fake,))
