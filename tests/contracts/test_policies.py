"""What every entry of POLICIES promises, by its being registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.augment import POLICIES, augmentation_numbers, diff_augment

every_policy = pytest.mark.parametrize("name", POLICIES)


def images(count: int = 4, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1


def numbers(count: int = 4, seed: int = 2) -> Tensor:
    return augmentation_numbers(count, ["any"], torch.Generator().manual_seed(seed))


@every_policy
def test_shape_and_type_stay_and_the_result_depends_on_the_numbers_alone(name: str) -> None:
    x = images()
    kept = x.clone()
    once, again = diff_augment(x, [name], numbers()), diff_augment(x, [name], numbers())
    other = diff_augment(x, [name], numbers(seed=3))
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(x, kept), "the images handed in stay as they are"


@every_policy
def test_a_sample_depends_on_its_own_numbers_and_pixels_alone(name: str) -> None:
    together = diff_augment(images(), [name], numbers())
    alone = torch.cat([diff_augment(images()[i : i + 1], [name], numbers()[i : i + 1]) for i in range(4)])
    assert torch.equal(together, alone)


@every_policy
def test_it_is_differentiable(name: str) -> None:
    x = images(2, 6, torch.float64).requires_grad_()
    u = numbers(2).double()
    assert torch.autograd.gradcheck(lambda x: diff_augment(x, [name], u), (x,))
    assert torch.autograd.gradgradcheck(lambda x: diff_augment(x, [name], u).square(), (x,))


@every_policy
def test_the_ends_of_the_range_of_numbers_work(name: str) -> None:
    just_below_one = 1 - 2**-24  # the largest float32 that torch.rand gives
    for value in (0.0, just_below_one):
        assert diff_augment(images(), [name], torch.full((4, 1, 4), value)).isfinite().all()


@every_policy
def test_images_need_not_be_square_or_in_colour(name: str) -> None:
    x = torch.rand(2, 1, 8, 24)
    assert diff_augment(x, [name], numbers(2)).shape == x.shape


@every_policy
def test_a_geometric_policy_treats_a_condition_like_the_image_and_no_other_touches_it(name: str) -> None:
    """The condition here is the image once more: still the same afterwards, or still as it was."""
    x = images()
    pair = torch.cat([x, x], dim=1)
    image, condition = diff_augment(pair, [name], numbers(), image_channels=3).split(3, dim=1)
    assert torch.equal(image, diff_augment(x, [name], numbers()))
    assert torch.equal(condition, image if POLICIES[name].geometric else x)


@every_policy
def test_p_decides_for_each_sample_and_its_ends_are_never_and_always(name: str) -> None:
    x, u = images(64), numbers(64)
    always = diff_augment(x, [name], u)
    assert torch.equal(diff_augment(x, [name], u, p=0.0), x)
    assert torch.equal(diff_augment(x, [name], u, p=1.0), always)
    some = diff_augment(x, [name], u, p=torch.tensor(0.3))
    chosen = u[:, 0, 3] < 0.3
    assert 0 < int(chosen.sum()) < 64
    assert torch.equal(some[chosen], always[chosen])
    assert torch.equal(some[~chosen], x[~chosen])
