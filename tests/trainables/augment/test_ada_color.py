"""ADA's colours: the closed form against the product of the paper's 4x4 matrices, and its strengths."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.augment import augmented
from trainables.augment.ada_color import POLICY, recoloured

AXIS = torch.ones(3).double() / math.sqrt(3)
ONE_SIGMA = 0.8413447460685429  # of the normal distribution


def picture() -> Tensor:
    return torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def strengths(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def linear(matrix: Tensor) -> Tensor:
    """3x3 → 4x4."""
    return torch.block_diag(matrix, torch.ones(1, 1).double())


def rotation(angle: float) -> Tensor:
    """About the axis of greys: the exponential of its cross product."""
    x, y, z = AXIS.tolist()
    return torch.matrix_exp(angle * torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]).double())


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_it_is_the_product_of_the_papers_matrices(flip: float) -> None:
    b, c, angle, s = 0.3, 1.7, 2.0, 0.4
    grey = torch.outer(AXIS, AXIS)
    brightness = torch.eye(4).double()
    brightness[:3, 3] = b
    steps = [
        brightness,
        linear(c * torch.eye(3).double()),
        linear(torch.eye(3).double() - 2 * flip * grey),
        linear(rotation(angle)),
        linear(grey + s * (torch.eye(3).double() - grey)),
    ]
    matrix = torch.eye(4).double()
    for step in steps:
        matrix = step @ matrix
    x = picture()
    wanted = torch.einsum("ij,njhw->nihw", matrix[:3, :3], x) + matrix[:3, 3].view(3, 1, 1)
    torch.testing.assert_close(recoloured(x, *strengths(b, c, flip, angle, s)), wanted)


def test_neutral_strengths_a_full_turn_and_two_flips_change_nothing() -> None:
    x = picture()
    torch.testing.assert_close(recoloured(x, *strengths(0, 1, 0, 0, 1)), x)
    torch.testing.assert_close(recoloured(x, *strengths(0, 1, 0, 2 * math.pi, 1)), x)
    inverted = strengths(0, 1, 1, 0, 1)
    torch.testing.assert_close(recoloured(recoloured(x, *inverted), *inverted), x)


def test_a_third_of_a_turn_exchanges_the_channels() -> None:
    x = picture()
    torch.testing.assert_close(recoloured(x, *strengths(0, 1, 0, 2 * math.pi / 3, 1)), x.roll(1, dims=1))


def test_a_grey_picture_is_treated_like_its_rgb_picture() -> None:
    x = picture()[:, :1]
    values = strengths(0.3, 1.7, 1, 2.0, 0.4)
    torch.testing.assert_close(recoloured(x, *values).expand(-1, 3, -1, -1), recoloured(x.expand(-1, 3, -1, -1), *values))


@pytest.mark.parametrize(
    ("transformation", "number", "values"),
    [
        (0, ONE_SIGMA, (0.2, 1, 0, 0, 1)),
        (1, ONE_SIGMA, (0, 2**0.5, 0, 0, 1)),
        (2, 0.4, (0, 1, 0, 0, 1)),
        (2, 0.6, (0, 1, 1, 0, 1)),
        (3, 0.75, (0, 1, 0, math.pi / 2, 1)),
        (4, ONE_SIGMA, (0, 1, 0, 0, 2)),
        (4, 1 - ONE_SIGMA, (0, 1, 0, 0, 0.5)),
    ],
)
def test_strengths_are_the_papers(transformation: int, number: float, values: tuple[float, ...]) -> None:
    """With p = 0.5 and a decision of 0.9 for all others, one transformation alone happens."""
    u = torch.full((1, POLICY.numbers), 0.9)
    u[0, 2 * transformation : 2 * transformation + 2] = torch.tensor([number, 0.4])
    got = augmented(picture(), ["ada_color"], u, p=0.5)
    torch.testing.assert_close(got, recoloured(picture(), *strengths(*values)), rtol=0, atol=1e-6)
