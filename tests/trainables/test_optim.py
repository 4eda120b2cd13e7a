"""Learning rates by part of D, and the averaged generator's half-life."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from trainables.optim import EmaOptions, OptimizerOptions, build_optimizer, update_ema


class Discriminator(nn.Module):
    """A trunk of two stages, the first frozen, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
        self.heads = nn.Linear(2, 1)


def ids(parameters: list[nn.Parameter]) -> set[int]:
    return {id(p) for p in parameters}


def test_the_trunk_has_a_learning_rate_of_its_own_and_frozen_parameters_none() -> None:
    discriminator = Discriminator()
    options = OptimizerOptions(trunk_lr_multiplier=0.2, beta1=0.3, beta2=0.9)
    heads, trunk = build_optimizer(discriminator, 1e-3, options).param_groups
    assert ids(heads["params"]) == ids(list(discriminator.heads.parameters()))
    assert heads["lr"] == pytest.approx(1e-3)
    assert ids(trunk["params"]) == ids(list(discriminator.backbone[1].parameters()))
    assert trunk["lr"] == pytest.approx(2e-4)
    assert heads["betas"] == trunk["betas"] == (0.3, 0.9)


def test_the_first_step_of_each_group_is_as_long_as_its_learning_rate() -> None:
    """Adam's first step is the learning rate times the sign of the gradient."""
    discriminator = Discriminator()
    before = [discriminator.heads.bias.detach().clone(), discriminator.backbone[1].bias.detach().clone()]
    optimizer = build_optimizer(discriminator, 1e-2, OptimizerOptions(trunk_lr_multiplier=0.5))
    for p in (discriminator.heads.bias, discriminator.backbone[1].bias):
        p.grad = torch.full_like(p, 3.0)
    optimizer.step()
    torch.testing.assert_close(discriminator.heads.bias.detach(), before[0] - 1e-2)
    torch.testing.assert_close(discriminator.backbone[1].bias.detach(), before[1] - 5e-3)


def test_a_frozen_trunk_makes_no_group() -> None:
    discriminator = Discriminator()
    discriminator.backbone.requires_grad_(False)
    assert len(build_optimizer(discriminator, 1e-2, OptimizerOptions()).param_groups) == 1


def test_the_generators_optimizer_holds_all_of_it() -> None:
    generator = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    (group,) = build_optimizer(generator, 3e-4, OptimizerOptions()).param_groups
    assert ids(group["params"]) == ids(list(generator.parameters()))
    assert group["lr"] == pytest.approx(3e-4)


@pytest.mark.parametrize("wrong", [{"generator_lr": 0}, {"generator_lr": float("inf")}, {"beta1": 1}, {"lr": 1e-3}])
def test_wrong_options_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        OptimizerOptions(**wrong)  # type: ignore[arg-type]


def averaged(batch_size: int, images_seen: int, *, pretrained: bool = False, **options: float) -> float:
    """Where an average at 0 goes when the network is at 1."""
    ema, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        ema.weight.fill_(0)
        network.weight.fill_(1)
    update_ema(ema, network, batch_size, EmaOptions(**options).halflife(images_seen, pretrained=pretrained))
    return float(ema.weight.detach())


def test_after_a_half_life_an_old_weight_counts_half() -> None:
    assert averaged(2000, 10**9, halflife_kimg=2, rampup=0) == pytest.approx(0.5)
    assert averaged(500, 10**9, halflife_kimg=1, rampup=0) == pytest.approx(1 - 0.5**0.5)
    ema, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        ema.weight.fill_(0)
        network.weight.fill_(1)
    for _ in range(10):  # ten batches of 100 make the half-life of 1000
        update_ema(ema, network, 100, halflife=1000)
    assert float(ema.weight.detach()) == pytest.approx(0.5)


def test_early_the_half_life_is_a_share_of_the_images_seen() -> None:
    """100 images seen, ramp-up 0.5: a half-life of 50 images; a batch of 50 moves half of the way."""
    assert averaged(50, 100, halflife_kimg=1, rampup=0.5) == pytest.approx(0.5)
    # The first step: the half-life is half a batch, so a quarter is left.
    assert averaged(32, 32, halflife_kimg=1, rampup=0.5) == pytest.approx(0.75)
    # From 2000 images on, the half-life is the full one.
    assert averaged(1000, 2000, halflife_kimg=1, rampup=0.5) == pytest.approx(0.5)
    assert averaged(1000, 10**6, halflife_kimg=1, rampup=0.5) == pytest.approx(0.5)


def test_from_a_source_the_half_life_is_the_full_one_from_the_first_step_on() -> None:
    """A step of 32 images at a half-life of 1000: 2 % of the way, where a ramp would go 75 % of it."""
    assert averaged(32, 32, halflife_kimg=1, pretrained=True) == pytest.approx(1 - 0.5**0.032)
    assert averaged(32, 32, halflife_kimg=1, pretrained=False) == pytest.approx(0.75)
    for pretrained in (True, False):  # what is given holds
        assert averaged(32, 32, halflife_kimg=1, rampup=0.5, pretrained=pretrained) == pytest.approx(0.75)
        assert averaged(32, 32, halflife_kimg=1, rampup=0, pretrained=pretrained) == pytest.approx(1 - 0.5**0.032)


def test_buffers_are_copied() -> None:
    ema, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.randn(8, 2) + 5)
    update_ema(ema, network, 1, halflife=1000)
    assert all(torch.equal(a, b) for a, b in zip(ema.buffers(), network.buffers(), strict=True))
