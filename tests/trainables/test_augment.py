"""DiffAugment by hand, and that its numbers belong to the sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.augment import augmentation_numbers, augmented
from trainables.randomness import keyed_generator


def u(*values: float) -> Tensor:
    """Numbers of one sample and one policy."""
    return torch.tensor([[*values, 0.0, 0.0, 0.0, 0.0][:4]])


def shifted(side: int, *numbers: float) -> tuple[int, int]:
    """By how much a single bright pixel in the middle moves down and right; its place must be one of the picture's."""
    x = torch.zeros(1, 1, side, side)
    x[..., side // 2, side // 2] = 1
    (place,) = augmented(x, ["translation"], u(*numbers))[0, 0].nonzero()
    return int(place[0]) - side // 2, int(place[1]) - side // 2


def test_neutral_colours_change_nothing() -> None:
    x = torch.rand(1, 3, 4, 4) * 2 - 1
    torch.testing.assert_close(augmented(x, ["color"], u(0.5, 0.5, 0.5)), x)


def test_brightness_saturation_contrast_by_hand() -> None:
    # One pixel red, one pixel black. Channels of the first: (1, 0, 0), of the second: (0, 0, 0).
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    brighter = augmented(x, ["color"], u(0.75, 0.5, 0.5))
    torch.testing.assert_close(brighter, x + 0.25)
    grey = augmented(x, ["color"], u(0.5, 0.0, 0.5))
    torch.testing.assert_close(grey, torch.tensor([1 / 3, 0.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))
    flatter = augmented(x, ["color"], u(0.5, 0.5, 0.0))  # half the contrast about the mean of all, 1/6
    torch.testing.assert_close(flatter, (x - 1 / 6) / 2 + 1 / 6)


def test_neutral_translation_changes_nothing() -> None:
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(augmented(x, ["translation"], u(0.5, 0.5)), x)


def test_translation_by_hand() -> None:
    """8 pixels: by 1 at most. u = 0 takes each pixel from one row up, so the picture moves down and 0 comes in at the top."""
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    moved = augmented(x, ["translation"], u(0.0, 0.5))[0, 0]
    assert torch.equal(moved[0], torch.zeros(8))
    assert torch.equal(moved[1:], x[0, 0, :-1])
    moved = augmented(x, ["translation"], u(0.5, 0.99))[0, 0]
    assert torch.equal(moved[:, -1], torch.zeros(8))
    assert torch.equal(moved[:, :-1], x[0, 0, :, 1:])


@pytest.mark.parametrize("side", [8, 16, 30, 32, 64])
def test_translation_reaches_an_eighth_either_way_and_every_shift_is_as_likely(side: int) -> None:
    reach = round(side / 8)
    shifts = [shifted(side, (k + 0.5) / (2 * reach + 1), 0.5) for k in range(2 * reach + 1)]
    assert sorted(shifts) == [(k, 0) for k in range(-reach, reach + 1)]
    just_below_one = 1 - 2**-24
    assert {abs(v) for v in (*shifted(side, 0.0, 0.0), *shifted(side, just_below_one, just_below_one))} == {reach}


@pytest.mark.parametrize("side", [8, 30, 32])
def test_cutout_hides_a_square_of_half_the_side(side: int) -> None:
    hidden = augmented(torch.ones(1, 1, side, side), ["cutout"], u(0.5, 0.5))[0, 0] == 0
    rows, columns = hidden.any(1).nonzero().flatten(), hidden.any(0).nonzero().flatten()
    assert len(rows) == len(columns) == side // 2
    assert int(hidden.sum()) == (side // 2) ** 2
    assert int(rows[0]) == side // 2 - side // 4


def test_cutout_reaches_over_the_border() -> None:
    for number in (0.0, 1 - 2**-24):
        hidden = augmented(torch.ones(1, 1, 32, 32), ["cutout"], u(number, 0.5)) == 0
        assert int(hidden.sum()) == 8 * 16


def test_flip_mirrors_left_and_right_for_half_of_the_numbers() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert torch.equal(augmented(x, ["flip"], u(0.49))[0, 0], torch.tensor([[2.0, 1, 0], [5, 4, 3]]))
    assert torch.equal(augmented(x, ["flip"], u(0.5)), x)


def test_with_p_each_policy_is_applied_or_not_by_itself() -> None:
    x, policies = torch.rand(500, 3, 8, 8) + 0.1, ["color", "cutout"]
    numbers = augmentation_numbers(500, policies, torch.Generator().manual_seed(0))
    got = augmented(x, policies, numbers, p=0.4)
    cut = (got == 0).flatten(1).any(1)
    assert float(cut.float().mean()) == pytest.approx(0.4, abs=0.07)
    corner = got[:, :, 0, 0] == x[:, :, 0, 0]
    untouched = corner.all(1) & ~cut
    assert float(untouched.float().mean()) == pytest.approx(0.6 * 0.6, abs=0.07)


def test_policies_apply_in_order() -> None:
    x = torch.rand(2, 3, 8, 8)
    numbers = augmentation_numbers(2, ["color", "cutout"], torch.Generator().manual_seed(0))
    color_first = augmented(x, ["color", "cutout"], numbers)
    by_hand = augmented(augmented(x, ["color"], numbers[:, :4]), ["cutout"], numbers[:, 4:])
    assert torch.equal(color_first, by_hand)
    assert (color_first == 0).any(), "what cutout hides stays 0 after colours"
    assert torch.equal(augmented(x, [], numbers[:, :0]), x)


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown augmentation 'colour'; did you mean 'color'"):
        augmented(torch.zeros(1, 3, 8, 8), ["colour"], u())


def test_numbers_are_uniform_and_of_the_key_alone() -> None:
    def drawn(*key: str | int) -> Tensor:
        return augmentation_numbers(1000, ["color", "ada_blit"], keyed_generator(3, "augment", *key))

    numbers = drawn("d_real", 7)
    assert numbers.shape == (1000, 4 + 7)
    assert torch.equal(numbers, drawn("d_real", 7))
    assert not torch.equal(numbers, drawn("d_real", 8))
    assert not torch.equal(numbers, drawn("d_fake", 7))
    assert 0 <= float(numbers.min()) < 0.01
    assert 0.99 < float(numbers.max()) < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.02)
