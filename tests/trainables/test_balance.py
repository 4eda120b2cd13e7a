"""Members of an ensemble count as discriminators, not as heads: losses and penalties are sums of what each would have alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.contracts.test_discriminators import build, images
from trainables.augment import AdaptiveAugment, AdaptiveOptions
from trainables.balance import Balance
from trainables.collective import Collective
from trainables.losses import ADVERSARIAL, REGULARISERS, DiscriminatorStep

ALONE = Collective()
PATCH = {"name": "patch", "channels": 8, "layers": 2}
PROJECTED = {"name": "projected", "head_channels": 8, "mixed_channels": 8}
WEIGHTS = (2.0, 0.5)


def ensemble() -> Any:
    """One head beside four."""
    return build("ensemble", members=[PATCH, PROJECTED], weights=WEIGHTS).eval().requires_grad_()


def step_of(discriminator: Any) -> DiscriminatorStep:
    real, fake = images(seed=1), images(seed=2)
    return DiscriminatorStep(
        logits=discriminator,
        real=real,
        fake=fake,
        real_logits=discriminator(real),
        fake_logits=discriminator(fake),
        mix=torch.tensor([0.2, 0.9]),
        batch_size=2,
        balance=discriminator.balance,
    )


def test_total_adds_the_members_and_mean_averages_them() -> None:
    balance, numbers = Balance([1, 3], [2.0, 1.0]), torch.tensor([5.0, 1.0, 2.0, 6.0])
    assert float(balance.total(torch.mean, numbers)) == 2 * 5 + 3
    assert float(balance.mean(torch.mean, numbers)) == pytest.approx((2 * 5 + 3) / 3)
    assert float(balance.total(lambda a, b: a[0] * len(a), list(numbers), None)) == 2 * 5 + 1 * 3


def test_without_members_all_heads_are_of_one() -> None:
    numbers = torch.tensor([5.0, 1.0])
    assert torch.equal(Balance().total(torch.mean, numbers), numbers.mean())
    assert torch.equal(Balance().mean(torch.mean, numbers), numbers.mean())


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_losses_are_the_members_added(name: str) -> None:
    d, loss = ensemble(), ADVERSARIAL[name]
    step, alone = step_of(d), [step_of(member) for member in d.members]
    by_member = [(loss.discriminator(s.real_logits, s.fake_logits), loss.generator(s.fake_logits, s.real_logits)) for s in alone]
    together = (
        d.balance.total(loss.discriminator, step.real_logits, step.fake_logits),
        d.balance.total(loss.generator, step.fake_logits, step.real_logits),
    )
    for index, value in enumerate(together):
        assert torch.equal(value, WEIGHTS[0] * by_member[0][index] + WEIGHTS[1] * by_member[1][index])


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty", "lecam"])
def test_penalties_are_the_members_added(name: str) -> None:
    """Each with the gradient of its own logits alone, so that γ means for a member what it means by itself; R1 and R2 are those
    of the members without a pretrained network."""
    d = ensemble()

    def of(step: DiscriminatorStep) -> Tensor:
        regulariser = REGULARISERS[name](REGULARISERS[name].Options())
        return regulariser(step, ALONE) * regulariser.strength(step)

    first, second = (of(step_of(member)) for member in d.members)
    expected = WEIGHTS[0] * first + (0 if name in ("r1", "r2") else WEIGHTS[1] * second)
    torch.testing.assert_close(of(step_of(d)), expected)


def test_what_d_is_right_about_is_averaged_over_members() -> None:
    """The patch member calls all real, the four heads of the other none."""
    logits = [torch.ones(2, 1, 1, 1), *(-torch.ones(2, 1, 3, 3) for _ in range(4))]
    r = AdaptiveAugment(AdaptiveOptions()).update(logits, 2, ALONE, ensemble().balance)
    assert float(r) == pytest.approx((2.0 * 1 + 0.5 * -1) / 2.5)
    assert float(AdaptiveAugment(AdaptiveOptions()).update(logits, 2, ALONE)) == pytest.approx((1 - 4) / 5)


def test_weights_are_one_for_each_member() -> None:
    assert build("ensemble", members=[PATCH, PROJECTED]).balance.weights == (1, 1)
    for wrong, message in (((1.0,), "as many as members, 2, but got 1"), ((1.0, 0.0), "must be finite and > 0")):
        with pytest.raises(ValidationError, match=message):
            build("ensemble", members=[PATCH, PROJECTED], weights=wrong)
