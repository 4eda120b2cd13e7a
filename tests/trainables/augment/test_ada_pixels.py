"""ADA's blits, noise and cutout, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.augment import augmented
from trainables.augment.ada_blit import moved

ONE_SIGMA = 0.8413447460685429  # of the normal distribution


def picture(height: int = 8, width: int = 8, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def blit(x: Tensor, flip: int = 0, turns: int = 0, shift_x: float = 0, shift_y: float = 0) -> Tensor:
    whole = [torch.tensor([value]) for value in (flip, turns)]
    return moved(x, *whole, *(torch.tensor([float(value)]) for value in (shift_x, shift_y)))


# Blits


@pytest.mark.parametrize("side", [7, 8])
def test_flips_and_quarter_turns_are_torchs(side: int) -> None:
    x = picture(side, side)
    assert torch.equal(blit(x), x)
    assert torch.equal(blit(x, flip=1), x.flip(-1))
    for turns in range(4):
        assert torch.equal(blit(x, turns=turns), torch.rot90(x, turns, (2, 3)))
        assert torch.equal(blit(x, flip=1, turns=turns), torch.rot90(x.flip(-1), turns, (2, 3)))


def test_shifts_come_last_and_bring_the_mirror_image_in() -> None:
    x = picture()
    moved = blit(x, shift_x=2, shift_y=-1)
    assert torch.equal(moved[..., :-1, 2:], x[..., 1:, :-2])
    assert torch.equal(moved[..., :-1, :2], x[..., 1:, :2].flip(-1))
    assert torch.equal(moved[..., -1, 2:], x[..., -1, :-2])
    assert torch.equal(blit(x, turns=1, shift_x=2)[..., 2:], torch.rot90(x, 1, (2, 3))[..., :-2])


def test_a_picture_that_is_not_square_keeps_its_shape_and_its_middle() -> None:
    x = picture(4, 10)
    turned = blit(x, turns=1)
    assert turned.shape == x.shape
    assert torch.equal(turned[..., 3:7], torch.rot90(x[..., 3:7], 1, (2, 3)))
    assert torch.equal(blit(x, turns=2), torch.rot90(x, 2, (2, 3)))


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ((0.4, 0, 0.9, 0.9, 0.9, 0.9, 0.9), lambda x: x),
        ((0.6, 0, 0.9, 0.9, 0.9, 0.9, 0.9), lambda x: x.flip(-1)),
        ((0.6, 0.9, 0.8, 0, 0.9, 0.9, 0.9), lambda x: torch.rot90(x, 3, (2, 3))),
        ((0.6, 0.9, 0.9, 0.9, 0.9, 0.5, 0), lambda x: blit(x, shift_x=2)),  # 0.8 of an eighth of 16, rounded
        ((0.6, 0.9, 0.9, 0.9, 0.5, 0.01, 0), lambda x: blit(x, shift_y=-2)),
    ],
)
def test_the_numbers_of_blits(numbers: tuple[float, ...], wanted: object) -> None:
    x = picture(16, 16)
    assert torch.equal(augmented(x, ["ada_blit"], torch.tensor([numbers]), p=0.5), wanted(x))  # type: ignore[operator]


# Noise


def test_noise_is_white_and_as_strong_as_its_number_says() -> None:
    x = picture(64, 64, count=3)
    u = torch.tensor([[ONE_SIGMA, 0.4, 0.1, 0.2], [1 - ONE_SIGMA, 0.4, 0.1, 0.3], [ONE_SIGMA, 0.6, 0.1, 0.2]])
    added = augmented(x, ["ada_noise"], u, p=0.5) - x
    assert torch.equal(added[2], torch.zeros_like(added[2])), "its decision is above p"
    for one in added[:2]:
        assert float(one.mean()) == pytest.approx(0, abs=3e-3)
        assert float(one.std()) == pytest.approx(0.1, rel=0.03)
    both = torch.stack([added[0].flatten(), added[1].flatten(), added[0].roll(1, -1).flatten(), added[0].roll(1, 0).flatten()])
    assert (torch.corrcoef(both) - torch.eye(4)).abs().max() < 0.05, "samples, neighbours and channels have nothing in common"


# Cutout


def test_cutout_hides_a_square_of_half_the_side_about_its_centre() -> None:
    x = torch.ones(1, 3, 16, 16)
    hidden = augmented(x, ["ada_cutout"], torch.tensor([[0.5, 0.25, 0.4]]), p=0.5)[0, 0] == 0
    wanted = torch.zeros(16, 16, dtype=torch.bool)
    wanted[0:8, 4:12] = True
    assert torch.equal(hidden, wanted)
    corner = augmented(x, ["ada_cutout"], torch.tensor([[0.0, 0.0, 0.4]]), p=0.5) == 0
    assert int(corner[0, 0].sum()) == 4 * 4, "the centre is in the picture, the square may be over its border"
    assert torch.equal(augmented(x, ["ada_cutout"], torch.tensor([[0.5, 0.25, 0.6]]), p=0.5), x)
