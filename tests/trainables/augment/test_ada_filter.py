"""ADA's filtering: the bands are a partition of the picture, each an octave; its strengths keep the expected power."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.augment import augmented
from trainables.augment.ada_filter import POLICY, bands, filtered

ONE_SIGMA = 0.8413447460685429  # of the normal distribution


def response(band: int, frequency: float) -> float:
    """Of a band at a frequency in radians a pixel; the filters are symmetrical, so it is real."""
    taps = bands(torch.float64, torch.device("cpu"))[band]
    place = torch.arange(len(taps)) - len(taps) // 2
    return float((taps * torch.cos(frequency * place)).sum())


def noise(count: int = 1) -> Tensor:
    return torch.rand(count, 3, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def test_bands_add_up_to_the_picture() -> None:
    total = bands(torch.float64, torch.device("cpu")).sum(0)
    assert total.argmax() == len(total) // 2
    torch.testing.assert_close(total, (torch.arange(len(total)) == len(total) // 2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(filtered(noise(), torch.ones(1, 4).double()), noise())


@pytest.mark.parametrize("band", range(4))
def test_each_band_is_an_octave(band: int) -> None:
    low, high = (0.0, math.pi / 8) if band == 0 else (math.pi / 2 ** (4 - band), math.pi / 2 ** (3 - band))
    grid = torch.linspace(0, math.pi, 513).tolist()
    responses = torch.tensor([response(band, frequency) for frequency in grid])
    assert responses.min() > -1e-6
    assert responses.max() < 1 + 1e-6
    middle = 0.0 if band == 0 else math.pi if band == 3 else (low + high) / 2
    assert response(band, middle) > 0.7
    inside = torch.tensor([low <= frequency <= high for frequency in grid])
    assert responses[inside].min() > 0.4
    assert responses[~inside].square().sum() < 0.35 * responses[inside].square().sum()


def test_a_wave_becomes_as_strong_as_its_band() -> None:
    """The lowest and the highest frequency there are, of which each is in one band alone; along rows and columns, so squared."""
    flat = torch.ones(1, 1, 16, 16).double()
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1)[None, None].double()
    strengths = torch.tensor([[3.0, 1.0, 1.0, 0.5]]).double()
    torch.testing.assert_close(filtered(flat, strengths), 9 * flat)
    inside = (..., slice(6, -6), slice(6, -6))
    half = torch.tensor([[1, 1, 1, 0.5]]).double()
    torch.testing.assert_close(filtered(board, half)[inside], 0.25 * board[inside])


@pytest.mark.parametrize("band", range(4))
def test_strengths_are_log_normal_and_keep_the_power_of_natural_pictures(band: int) -> None:
    u = torch.full((1, POLICY.numbers), 0.9).double()
    u[0, 2 * band : 2 * band + 2] = torch.tensor([ONE_SIGMA, 0.4])
    power = torch.tensor([10, 1, 1, 1]).double() / 13
    strengths = torch.ones(4).double()
    strengths[band] = 2
    strengths = strengths / (power * strengths.square()).sum().sqrt()
    assert float((power * strengths.square()).sum()) == pytest.approx(1)
    torch.testing.assert_close(
        augmented(noise(), ["ada_filter"], u, p=0.5), filtered(noise(), strengths[None]), rtol=0, atol=1e-6
    )


def test_bands_may_change_together() -> None:
    u = torch.full((1, POLICY.numbers), 0.0).double()
    u[0, 0::2] = ONE_SIGMA
    power, strengths = torch.tensor([10, 1, 1, 1]).double() / 13, torch.ones(4).double()
    for band in range(4):
        one = torch.ones(4).double()
        one[band] = 2
        strengths = strengths * one / (power * one.square()).sum().sqrt()
    torch.testing.assert_close(augmented(noise(), ["ada_filter"], u), filtered(noise(), strengths[None]), rtol=0, atol=1e-6)


def test_each_sample_has_strengths_of_its_own() -> None:
    strengths = torch.tensor([[1, 1, 1, 1], [2, 1, 0.5, 1]]).double()
    together = filtered(noise(2), strengths)
    torch.testing.assert_close(together[:1], noise(2)[:1])
    torch.testing.assert_close(together[1:], filtered(noise(2)[1:], strengths[1:]))
