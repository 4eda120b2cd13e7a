"""ADA's geometric group against closed forms, and the strengths and probabilities of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.augment import augmented
from trainables.augment.ada_geometric import POLICY, rotation, transformed
from trainables.augment.mirror import extended, mirrored, mirrored_position
from trainables.augment.wavelets import SYM2, SYM6

IDENTITY, NOWHERE = torch.eye(2)[None].double(), torch.zeros(1, 2).double()


def noise(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def ramps(side: int) -> Tensor:
    """Position relative to the centre, to the right and down, in pixels: [1, 2, side, side]."""
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.stack([place.expand(side, side), place[:, None].expand(side, side)])[None]


def waves(side: int) -> Tensor:
    """Smooth, with neither symmetry."""
    right, down = ramps(side)[0] / side
    return (torch.sin(5 * right + 2 * down) + right * down + down)[None, None]


@pytest.mark.parametrize(("taps", "moments"), [(SYM2, 2), (SYM6, 6)])
def test_the_wavelets_are_orthonormal_with_as_many_vanishing_moments_as_their_name_says(
    taps: tuple[float, ...], moments: int
) -> None:
    h = torch.tensor(taps, dtype=torch.float64)
    assert float(h.sum()) == pytest.approx(math.sqrt(2))
    for shift in range(len(h) // 2):
        assert float((h[2 * shift :] * h[: len(h) - 2 * shift]).sum()) == pytest.approx(float(shift == 0), abs=1e-11)
    k = torch.arange(len(h), dtype=torch.float64)
    for order in range(moments):
        assert float(((-1) ** k * k**order * h).sum()) == pytest.approx(0, abs=1e-8)


def test_beyond_the_edges_is_the_mirror_image_without_end() -> None:
    assert mirrored(torch.arange(-4, 7), 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    assert mirrored_position(torch.tensor([-0.5, 3.25, 6.5]), 3).tolist() == [0.5, 2.75, 0.5]
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert extended(x, 1)[0, 0].tolist() == [[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [3, 3, 4, 5, 5], [3, 3, 4, 5, 5]]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (5, 12), (33, 20)])
def test_a_picture_that_stays_in_its_place_comes_back_whatever_is_on_it(height: int, width: int) -> None:
    x = noise(height, width)
    torch.testing.assert_close(transformed(x, IDENTITY, NOWHERE), x, rtol=0, atol=1e-9)
    torch.testing.assert_close(transformed(x.float(), IDENTITY.float(), NOWHERE.float()), x.float(), rtol=0, atol=2e-4)


def test_whole_shifts_are_exact_away_from_the_edges() -> None:
    x = noise(24, 24)
    moved = transformed(x, IDENTITY, torch.tensor([[3.0, -2.0]]).double())
    torch.testing.assert_close(moved[..., 4:-8, 9:-4], x[..., 6:-6, 6:-7], rtol=0, atol=1e-9)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_rotation_by_quarters_is_rot90(quarters: int) -> None:
    """Of what is smooth; to the right, and so the other way round than torch.rot90."""
    x = waves(24)
    turned = transformed(x, rotation(torch.tensor([-quarters * math.pi / 2]).double()), NOWHERE)
    torch.testing.assert_close(turned, torch.rot90(x, -quarters, (2, 3)), rtol=0, atol=0.03)
    inside = (..., slice(6, -6), slice(6, -6))
    torch.testing.assert_close(turned[inside], torch.rot90(x, -quarters, (2, 3))[inside], rtol=0, atol=2e-3)


def test_any_affine_map_of_a_ramp_is_the_ramp_of_the_inverse() -> None:
    """Linear pictures go through doubling, bilinear sampling and halving exactly."""
    x, side = ramps(32), 32
    matrix = torch.tensor([[[1.1, -0.4], [0.3, 0.9]]]).double()
    shift = torch.tensor([[1.5, -0.7]]).double()
    got = transformed(x, torch.linalg.inv(matrix), shift)[0, :, 10:-10, 10:-10]
    place = (ramps(side)[0] - shift[0, :, None, None])[:, 10:-10, 10:-10]
    torch.testing.assert_close(got, torch.einsum("ij,jhw->ihw", torch.linalg.inv(matrix[0]), place), rtol=0, atol=1e-8)


def test_what_a_smaller_picture_cannot_show_vanishes_instead_of_folding_over() -> None:
    """A chequerboard, two thirds as large: too fine for the grid."""
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1)[None, None].double()
    smaller = transformed(board, IDENTITY * 1.5, NOWHERE)
    assert smaller[..., 8:-8, 8:-8].abs().max() < 0.03


# Strengths and probabilities. Columns: scale 0-1, first turn 2-3, stretch 4-5, second turn 6-7, shift 8-10; the later of each
# pair, and the last, decide.

DECISIONS = (1, 3, 5, 7, 10)


def with_only(*happening: int, count: int = 4000) -> Tensor:
    u = torch.rand(count, POLICY.numbers, generator=torch.Generator().manual_seed(0))
    for column in set(DECISIONS) - set(happening):
        u[:, column] = 0.999
    for column in happening:
        u[:, column] = 0.0
    return u


def maps(u: Tensor, side: int = 40) -> tuple[Tensor, Tensor]:
    """Inverse matrix [N, 2, 2] and source of the centre [N, 2] in pixels, read off the ramps in the middle."""
    x = ramps(side).float()
    parts = [augmented(x.expand(len(part), -1, -1, -1), ["ada_geometric"], part, 0.5) for part in u.split(250)]
    seen = torch.cat(parts)
    middle = seen[..., side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1]
    right, down = middle[..., 1] - middle[..., 0], middle[..., 1, :] - middle[..., 0, :]
    return torch.stack([right.mean(-1), down.mean(-1)], dim=-1), middle.mean((-1, -2))


def test_sizes_are_log_normal() -> None:
    inverse, _ = maps(with_only(1, count=1000))
    scale = -torch.log2(inverse.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(scale[:, 0], scale[:, 1], rtol=0, atol=1e-3)
    assert float(scale.mean()) == pytest.approx(0, abs=0.02)
    assert float(scale.std()) == pytest.approx(0.2, abs=0.015)


def test_stretches_keep_the_area_and_are_log_normal() -> None:
    inverse, _ = maps(with_only(5, count=1000))
    across, along = (-torch.log2(inverse.diagonal(dim1=1, dim2=2))).unbind(1)
    torch.testing.assert_close(across, -along, rtol=0, atol=2e-3)
    assert float(across.std()) == pytest.approx(0.2, abs=0.015)


@pytest.mark.parametrize("turn", [3, 7])
def test_turns_are_by_any_angle(turn: int) -> None:
    inverse, _ = maps(with_only(turn, count=1000))
    torch.testing.assert_close(inverse @ inverse.mT, torch.eye(2).expand(1000, 2, 2), rtol=0, atol=2e-3)
    angle = torch.atan2(inverse[:, 1, 0], inverse[:, 0, 0]) / (2 * math.pi) + 0.5
    assert torch.histc(angle, 4, 0, 1).min() > 200


def test_shifts_are_normal() -> None:
    inverse, source = maps(with_only(10, count=1000))
    inside = source.abs().max(1).values < 15
    torch.testing.assert_close(inverse[inside], torch.eye(2).expand(int(inside.sum()), 2, 2), rtol=0, atol=2e-3)
    assert float(source.median()) == pytest.approx(0, abs=0.5)
    assert float((source.abs() < 0.125 * 40).float().mean()) == pytest.approx(0.683, abs=0.03)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_a_picture_is_turned_with_probability_p_though_there_are_two_turns(p: float) -> None:
    u = torch.rand(4000, POLICY.numbers, generator=torch.Generator().manual_seed(0))
    for column in (1, 5, 10):
        u[:, column] = 0.9999
    x = noise(4, 4).float().expand(4000, -1, -1, -1)
    turned = (augmented(x, ["ada_geometric"], u, p) != x).flatten(1).any(1)
    assert float(turned.float().mean()) == pytest.approx(p, abs=0.025)


def test_the_transformations_come_in_the_papers_order() -> None:
    """Of a picture's points: scale, turn, stretch, turn, shift."""
    u = torch.full((1, POLICY.numbers), 0.0)
    u[:, 0], u[:, 2], u[:, 4], u[:, 6] = 0.8413447, 0.55, 0.2, 0.6
    u[:, 8:10] = torch.tensor([0.6, 0.45])
    inverse, source = maps(u)
    size, stretch = 2**0.2, 2 ** (0.2 * float(torch.special.ndtri(torch.tensor(0.2))))
    first, second = (rotation(torch.tensor([angle])) for angle in (0.1 * math.pi, 0.2 * math.pi))
    matrix = second @ torch.diag(torch.tensor([stretch, 1 / stretch])) @ first * size
    torch.testing.assert_close(inverse, torch.linalg.inv(matrix), rtol=0, atol=1e-3)
    shift = 0.125 * 40 * torch.special.ndtri(u[:, 8:10])
    torch.testing.assert_close(source, -(torch.linalg.inv(matrix) @ shift[..., None])[..., 0], rtol=0, atol=5e-3)
