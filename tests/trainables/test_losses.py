"""Closed forms of the losses, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.losses import ADVERSARIAL, RECONSTRUCTION, gram_distance, gram_matrices


def head(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_non_saturating_by_hand() -> None:
    loss = ADVERSARIAL["non_saturating"]
    assert float(loss.discriminator([head(0.0)], [head(0.0)])) == pytest.approx(2 * math.log(2))
    assert float(loss.generator([head(0.0)], None)) == pytest.approx(math.log(2))
    real, fake = [head(2.0, -1.0)], [head(3.0, -4.0)]
    by_hand = (softplus(-2.0) + softplus(1.0)) / 2 + (softplus(3.0) + softplus(-4.0)) / 2
    assert float(loss.discriminator(real, fake)) == pytest.approx(by_hand)
    assert float(loss.generator(fake, None)) == pytest.approx((softplus(-3.0) + softplus(4.0)) / 2)


def test_non_saturating_is_minus_log_of_the_probability() -> None:
    """Goodfellow's own form: D minimises -log D(x) - log(1 - D(G(z))), G minimises -log D(G(z)), D = sigmoid(logit)."""
    real, fake = torch.linspace(-3, 3, 7).view(-1, 1, 1, 1), torch.linspace(-2, 4, 7).view(-1, 1, 1, 1)
    by_probability = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(ADVERSARIAL["non_saturating"].discriminator([real], [fake]), by_probability)
    torch.testing.assert_close(ADVERSARIAL["non_saturating"].generator([fake], None), -fake.sigmoid().log().mean())


def test_non_saturating_gives_g_a_gradient_where_d_is_sure() -> None:
    fake = torch.full((1, 1, 1, 1), -20.0, requires_grad=True)
    ADVERSARIAL["non_saturating"].generator([fake], None).backward()
    assert fake.grad is not None
    assert float(fake.grad) == pytest.approx(-1)


def test_hinge_by_hand() -> None:
    loss = ADVERSARIAL["hinge"]
    real, fake = [head(0.5, 2.0)], [head(-2.0, 0.0)]
    assert float(loss.discriminator(real, fake)) == pytest.approx((0.5 + 0) / 2 + (0 + 1) / 2)
    assert float(loss.generator(fake, None)) == pytest.approx(1.0)


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


def test_minimax_is_the_documents_formula() -> None:
    """V = E[log D(x)] + E[log(1 - D(G(z)))], D = sigmoid(logit): D minimises -V, G minimises E[log(1 - D(G(z)))]."""
    real, fake = torch.linspace(-3, 3, 7).view(-1, 1, 1, 1), torch.linspace(-2, 4, 7).view(-1, 1, 1, 1)
    value = real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(ADVERSARIAL["minimax"].discriminator([real], [fake]), -value)
    torch.testing.assert_close(ADVERSARIAL["minimax"].generator([fake], None), (1 - fake.sigmoid()).log().mean())


def test_minimax_gives_g_no_gradient_where_d_is_sure() -> None:
    """What the non-saturating form is for: d/dx log(1 - sigmoid(x)) = -sigmoid(x)."""
    fake = torch.full((1, 1, 1, 1), -20.0, requires_grad=True)
    ADVERSARIAL["minimax"].generator([fake], None).backward()
    assert fake.grad is not None
    assert float(fake.grad) == pytest.approx(-math.exp(-20), rel=1e-5)


def test_least_squares_by_hand() -> None:
    loss = ADVERSARIAL["least_squares"]
    real, fake = [head(0.0, 3.0)], [head(-2.0, 1.0)]
    assert float(loss.discriminator(real, fake)) == pytest.approx(((1 + 4) / 2 + (1 + 4) / 2) / 2)
    assert float(loss.generator(fake, None)) == pytest.approx((9 + 0) / 2 / 2)


def test_least_squares_is_the_zero_one_coding_in_other_units() -> None:
    """Mao et al., eq. 9, of D = (1 + logit) / 2: half ((D(x) - 1)² + D(G(z))²), a quarter of the loss of logits."""
    real, fake = torch.randn(2, 6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    of_d = ((((1 + real) / 2 - 1).square()).mean() + ((1 + fake) / 2).square().mean()) / 2
    torch.testing.assert_close(ADVERSARIAL["least_squares"].discriminator([real], [fake]), 4 * of_d)


def test_wasserstein_by_hand() -> None:
    loss = ADVERSARIAL["wasserstein"]
    assert float(loss.discriminator([head(2.0, 4.0)], [head(-1.0, 0.0)])) == pytest.approx(-0.5 - 3)
    assert float(loss.generator([head(-1.0, 0.0)], None)) == pytest.approx(0.5)


def test_relativistic_by_hand() -> None:
    """Pair by pair: real minus fake is 3 and -1."""
    real, fake = [head(2.0, 0.0)], [head(-1.0, 1.0)]
    loss = ADVERSARIAL["relativistic"]
    assert float(loss.discriminator(real, fake)) == pytest.approx((softplus(-3) + softplus(1)) / 2)
    assert float(loss.generator(fake, real)) == pytest.approx((softplus(3) + softplus(-1)) / 2)


def test_relativistic_is_symmetric_and_ignores_what_both_logits_share() -> None:
    loss = ADVERSARIAL["relativistic"]
    real, fake = torch.randn(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loss.discriminator([real], [fake]), loss.generator([real], [fake]))
    torch.testing.assert_close(loss.discriminator([real + 5], [fake + 5]), loss.discriminator([real], [fake]))


def test_relativistic_pairs_need_partners() -> None:
    with pytest.raises(ValueError, match=r"but got logits \[\(2, 1, 1, 1\)\] and \[\(1, 1, 1, 1\)\]"):
        ADVERSARIAL["relativistic"].discriminator([head(1.0, 2.0)], [head(1.0)])


# Reconstruction


def test_reconstruction_by_hand() -> None:
    output, target = torch.tensor([[0.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    assert float(RECONSTRUCTION["l1"](output, target)) == pytest.approx(1.5)
    assert float(RECONSTRUCTION["l2"](output, target)) == pytest.approx(2.5)
    by_hand = (math.sqrt(1 + 1e-6) + math.sqrt(4 + 1e-6)) / 2
    assert float(RECONSTRUCTION["charbonnier"](output, target)) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("name", RECONSTRUCTION)
def test_reconstruction_is_smallest_at_the_target_and_differentiable_there(name: str) -> None:
    target = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    output = target.clone().requires_grad_()
    loss = RECONSTRUCTION[name](output, target)
    loss.backward()
    assert loss.shape == ()
    assert 0 <= float(loss.detach()) < 1.001e-3
    assert torch.equal(output.grad, torch.zeros_like(target))  # type: ignore[arg-type]
    assert RECONSTRUCTION[name](target + 0.1, target) > loss
    assert RECONSTRUCTION[name](target.bfloat16(), target.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", RECONSTRUCTION)
def test_reconstruction_refuses_to_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match=r"must have one shape, but got \(2, 1\) and \(2, 2\)"):
        RECONSTRUCTION[name](torch.zeros(2, 1), torch.zeros(2, 2))


# Style


def test_gram_matrix_by_hand() -> None:
    """Channels (1, 2) and (3, 4) over two positions: products 5, 11, 25 over C·h·w = 4."""
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    assert torch.equal(gram_matrices({"a": maps})["a"], torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)


def test_gram_distance_by_hand() -> None:
    """The style has Gram 2, the fakes 1 and 4: ((1 - 2)² + (4 - 2)²) / 2 / 2² in one layer, twice that in two alike."""
    fake = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    style = {"a": torch.tensor([[2.0]])}
    assert float(gram_distance({"a": fake}, style)) == pytest.approx(2.5 / 4)
    twice = gram_distance({"a": fake, "b": fake, "unused": fake}, style | {"b": style["a"]})
    assert float(twice) == pytest.approx(2 * 2.5 / 4)


def test_gram_distance_ignores_where_things_are_and_the_scale_of_a_layer() -> None:
    maps = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    style = {"a": gram_matrices({"a": maps})["a"].mean(0)}
    assert float(gram_distance({"a": maps.flip(-1)}, style)) == pytest.approx(0, abs=1e-12)
    other = maps + 1
    scaled = gram_distance({"a": other * 100}, {"a": style["a"] * 100**2})
    torch.testing.assert_close(scaled, gram_distance({"a": other}, style))


def test_gram_distance_has_the_formulas_gradient() -> None:
    maps = torch.randn(2, 2, 2, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    style = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: gram_distance({"a": x}, {"a": style}), (maps,))
