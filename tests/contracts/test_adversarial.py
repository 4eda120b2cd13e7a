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
def test_losses_are_finite_scalars_even_for_large_logits(name: str) -> None:
    for scale in (1.0, 1e4):
        real, fake = [x * scale for x in logits(0)], [x * scale for x in logits(1)]
        for loss in (ADVERSARIAL[name].discriminator(real, fake), ADVERSARIAL[name].generator(fake)):
            assert loss.shape == ()
            assert loss.isfinite()


@every_objective
def test_d_wants_real_high_and_fake_low_and_g_wants_fake_high(name: str) -> None:
    real = [torch.zeros(2, 1, 2, 2, requires_grad=True)]
    fake = [torch.zeros(2, 1, 2, 2, requires_grad=True)]
    ADVERSARIAL[name].discriminator(real, fake).backward()
    assert (real[0].grad < 0).all()  # type: ignore[operator]
    assert (fake[0].grad > 0).all()  # type: ignore[operator]
    fake[0].grad = None
    ADVERSARIAL[name].generator(fake).backward()
    assert (fake[0].grad < 0).all()  # type: ignore[operator]


@every_objective
def test_the_mean_over_equal_shares_is_the_loss_of_the_whole_batch(name: str) -> None:
    real, fake = logits(0), logits(1)
    shares = [slice(0, 2), slice(2, 4)]
    of_shares = [ADVERSARIAL[name].discriminator([x[s] for x in real], [x[s] for x in fake]) for s in shares]
    torch.testing.assert_close(torch.stack(of_shares).mean(), ADVERSARIAL[name].discriminator(real, fake))
    of_shares = [ADVERSARIAL[name].generator([x[s] for x in fake]) for s in shares]
    torch.testing.assert_close(torch.stack(of_shares).mean(), ADVERSARIAL[name].generator(fake))


@every_objective
def test_every_head_counts_the_same_however_large_its_map(name: str) -> None:
    small, large = [torch.full((2, 1, side, side), value) for side, value in ((1, 0.3), (8, -0.7))]
    one = ADVERSARIAL[name]
    torch.testing.assert_close(one.generator([small, large]), (one.generator([small]) + one.generator([large])) / 2)
