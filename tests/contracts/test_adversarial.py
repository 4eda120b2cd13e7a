"""What every entry of ADVERSARIAL promises, by its being registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.losses import ADVERSARIAL

every_objective = pytest.mark.parametrize("name", ADVERSARIAL)


def logits(seed: int, count: int = 4) -> list[Tensor]:
    """Two heads of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 1, side, side, generator=generator) for side in (2, 3)]


@every_objective
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_are_finite_scalars_in_float32_even_for_large_logits(name: str, dtype: torch.dtype) -> None:
    for scale in (1.0, 1e4):
        real, fake = [(x * scale).to(dtype) for x in logits(0)], [(x * scale).to(dtype) for x in logits(1)]
        for loss in (ADVERSARIAL[name].discriminator(real, fake), ADVERSARIAL[name].generator(fake, real)):
            assert loss.shape == ()
            assert loss.dtype == torch.float32
            assert loss.isfinite()


@every_objective
def test_d_wants_real_high_and_fake_low_and_g_wants_fake_high(name: str) -> None:
    real = [torch.zeros(2, 1, 2, 2, requires_grad=True)]
    fake = [torch.zeros(2, 1, 2, 2, requires_grad=True)]
    ADVERSARIAL[name].discriminator(real, fake).backward()
    assert (real[0].grad < 0).all()  # type: ignore[operator]
    assert (fake[0].grad > 0).all()  # type: ignore[operator]
    fake[0].grad = None
    ADVERSARIAL[name].generator(fake, [x.detach() for x in real]).backward()
    assert (fake[0].grad < 0).all()  # type: ignore[operator]


@every_objective
def test_g_looks_at_real_logits_only_where_it_says_so(name: str) -> None:
    objective, fake = ADVERSARIAL[name], logits(1)
    if objective.needs_real:
        assert objective.generator(fake, logits(0)) != objective.generator(fake, logits(2))
        with pytest.raises(ValueError, match="pairs real and fake samples one to one"):
            objective.generator(fake, None)
    else:
        assert torch.equal(objective.generator(fake, logits(0)), objective.generator(fake, None))


@every_objective
def test_without_a_boundary_only_differences_of_logits_matter(name: str) -> None:
    objective, (real, fake) = ADVERSARIAL[name], (logits(0), logits(1))
    moved = objective.discriminator([x + 7 for x in real], [x + 7 for x in fake])
    same = torch.isclose(moved, objective.discriminator(real, fake), atol=1e-6)
    assert bool(same) is not objective.boundary


@every_objective
def test_the_mean_over_equal_shares_is_the_loss_of_the_whole_batch(name: str) -> None:
    real, fake = logits(0), logits(1)
    shares = [([x[s] for x in real], [x[s] for x in fake]) for s in (slice(0, 2), slice(2, 4))]
    of_shares = [ADVERSARIAL[name].discriminator(r, f) for r, f in shares]
    torch.testing.assert_close(torch.stack(of_shares).mean(), ADVERSARIAL[name].discriminator(real, fake))
    of_shares = [ADVERSARIAL[name].generator(f, r) for r, f in shares]
    torch.testing.assert_close(torch.stack(of_shares).mean(), ADVERSARIAL[name].generator(fake, real))


@every_objective
def test_every_head_counts_the_same_however_large_its_map(name: str) -> None:
    small, large = [torch.full((2, 1, side, side), value) for side, value in ((1, 0.3), (8, -0.7))]
    one, real = ADVERSARIAL[name], [x.new_ones(x.shape) for x in (small, large)]
    both = one.generator([small, large], real)
    torch.testing.assert_close(both, (one.generator([small], real[:1]) + one.generator([large], real[1:])) / 2)


@every_objective
def test_the_gradients_are_those_of_the_loss(name: str) -> None:
    """Against finite differences, in float64; random logits are off the hinge's corners."""
    real, fake = ([x.double().requires_grad_() for x in logits(seed, 2)] for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda *x: ADVERSARIAL[name].discriminator(x[:2], x[2:]), (*real, *fake))
    assert torch.autograd.gradcheck(lambda *x: ADVERSARIAL[name].generator(x[2:], x[:2]), (*real, *fake))
