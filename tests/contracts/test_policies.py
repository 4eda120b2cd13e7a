"""What every entry of POLICIES promises, by its being registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.augment import PIPELINES, POLICIES, augmentation_numbers, augmented

every_policy = pytest.mark.parametrize("name", POLICIES)


def images(count: int = 4, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1


def numbers(name: str, count: int = 4, seed: int = 2) -> Tensor:
    return augmentation_numbers(count, [name], torch.Generator().manual_seed(seed))


@every_policy
def test_shape_and_type_stay_and_the_result_depends_on_the_numbers_alone(name: str) -> None:
    x = images()
    kept = x.clone()
    once, again = augmented(x, [name], numbers(name)), augmented(x, [name], numbers(name))
    other = augmented(x, [name], numbers(name, seed=3))
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(x, kept), "the images handed in stay as they are"


@every_policy
def test_it_uses_all_the_numbers_that_it_asks_for(name: str) -> None:
    u = numbers(name)
    assert u.shape == (4, POLICIES[name].numbers)
    with pytest.raises(RuntimeError):
        augmented(images(), [name], u[:, :-1])
    before = augmented(images(64), [name], numbers(name, 64), p=0.5)
    for column in range(u.shape[1]):
        moved = numbers(name, 64)
        moved[:, column] = (moved[:, column] + 0.5) % 1
        changed = not torch.equal(augmented(images(64), [name], moved, p=0.5), before)
        assert changed or name in ("flip", "cutout", "translation"), "DiffAugment's have four numbers each"


@every_policy
def test_a_sample_depends_on_its_own_numbers_and_pixels_alone(name: str) -> None:
    u = numbers(name)
    together = augmented(images(), [name], u)
    alone = torch.cat([augmented(images()[i : i + 1], [name], u[i : i + 1]) for i in range(4)])
    assert_same_up_to_summation(alone, together)


@every_policy
def test_it_is_differentiable(name: str) -> None:
    x = images(2, 6, torch.float64).requires_grad_()
    u = numbers(name, 2).double()
    assert torch.autograd.gradcheck(lambda x: augmented(x, [name], u), (x,))


@every_policy
def test_the_ends_of_the_range_of_numbers_work(name: str) -> None:
    just_below_one = 1 - 2**-24  # the largest float32 that torch.rand gives
    for value in (0.0, just_below_one):
        assert augmented(images(), [name], torch.full((4, POLICIES[name].numbers), value)).isfinite().all()


@every_policy
def test_images_need_not_be_square_or_in_colour(name: str) -> None:
    x = torch.rand(2, 1, 8, 24)
    assert augmented(x, [name], numbers(name, 2)).shape == x.shape


@every_policy
def test_a_geometric_policy_treats_a_condition_like_the_image_and_no_other_touches_it(name: str) -> None:
    """The condition here is the image once more: still the same afterwards, or still as it was."""
    x = images()
    pair = torch.cat([x, x], dim=1)
    image, condition = augmented(pair, [name], numbers(name), image_channels=3).split(3, dim=1)
    assert_same_up_to_summation(image, augmented(x, [name], numbers(name)))
    assert torch.equal(condition, image if POLICIES[name].geometric else x)


@every_policy
def test_p_decides_for_each_sample_and_its_ends_are_never_and_always(name: str) -> None:
    x, u = images(64), numbers(name, 64)
    assert torch.equal(augmented(x, [name], u, p=0.0), x)
    assert torch.equal(augmented(x, [name], u, p=1.0), augmented(x, [name], u))

    def untouched(p: float) -> Tensor:
        return (augmented(x, [name], u, p=torch.tensor(p)) == x).flatten(1).all(1)

    rare, frequent = untouched(0.1), untouched(0.3)
    assert 64 > int(rare.sum()) > int(frequent.sum())
    assert not (frequent & ~rare).any(), "a higher p augments those too that a lower one does"


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_made_of_policies(name: str) -> None:
    assert set(PIPELINES[name]) <= set(POLICIES)
    assert len(PIPELINES[name]) == len(name)
