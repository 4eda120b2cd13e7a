"""Keyed random numbers are uniform, normal and independent, and follow from the latent alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.layers.keyed_noise import keyed_normal, keyed_uniform, keys_of

COUNT = 2**18
# Where a statistic of so many numbers has five standard deviations; the numbers are always the same, so that no run is unlucky.
FIVE = 5 / math.sqrt(COUNT)


def latents(count: int, z_dim: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(seed))


KEYS = {
    "of latents": keys_of(latents(4)),
    "of neighbouring latents": keys_of(torch.stack([x := latents(1)[0], torch.nextafter(x, x + 1)])),
    "consecutive": torch.arange(4),
}
every_key = pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)


def correlation(a: Tensor, b: Tensor) -> float:
    """Of numbers of mean 0 and variance 1."""
    return float((a.double() * b.double()).mean())


def distance(sorted_cdf: Tensor) -> float:
    """Of Kolmogorov and Smirnov, from a uniform distribution."""
    steps = torch.arange(1, len(sorted_cdf) + 1, dtype=torch.float64) / len(sorted_cdf)
    return float(torch.maximum((steps - sorted_cdf).abs(), (steps - 1 / len(sorted_cdf) - sorted_cdf).abs()).max())


@every_key
def test_uniform_numbers_are_uniform(keys: Tensor) -> None:
    for row in keyed_uniform(keys, 3, COUNT):
        assert 0 < row.min() < 10 / COUNT
        assert 1 - 10 / COUNT < row.max() < 1
        assert row.mean() == pytest.approx(0.5, abs=FIVE / math.sqrt(12))
        assert row.var() == pytest.approx(1 / 12, abs=FIVE / math.sqrt(180))
        # Kolmogorov's distribution: beyond 2.2 / √n in one of 8,000 cases.
        assert distance(row.sort().values) < 2.2 / math.sqrt(COUNT)


@every_key
def test_normal_numbers_are_normal(keys: Tensor) -> None:
    for row in keyed_normal(keys, 3, COUNT).double():
        assert row.mean() == pytest.approx(0, abs=FIVE)
        assert row.var() == pytest.approx(1, abs=FIVE * math.sqrt(2))
        assert row.pow(3).mean() == pytest.approx(0, abs=FIVE * math.sqrt(15))
        assert row.pow(4).mean() == pytest.approx(3, abs=FIVE * math.sqrt(96))
        assert distance(torch.special.ndtr(row).sort().values) < 2.2 / math.sqrt(COUNT)


@every_key
def test_keys_and_purposes_are_independent(keys: Tensor) -> None:
    rows = torch.cat([keyed_normal(keys, purpose, COUNT) for purpose in (0, 1, 2, 2**16, 2**16 + 1)])
    for values in (rows.double(), (rows.double().square() - 1) / math.sqrt(2)):
        assert (values @ values.T / COUNT).fill_diagonal_(0).abs().max() < FIVE


@every_key
@pytest.mark.parametrize("side", [16, 512])
def test_neighbours_in_a_layers_noise_are_independent(keys: Tensor, side: int) -> None:
    """In rows and columns, and half a map apart, where the two numbers of Box and Muller stand that share a radius."""
    for row in keyed_normal(keys, 7, COUNT):
        for lag in (1, 2, side - 1, side, side + 1, COUNT // 2):
            a, b = row[:-lag], row[lag:]
            limit = 5 / math.sqrt(len(a))
            assert abs(correlation(a, b)) < limit, lag
            assert abs(correlation((a**2 - 1) / math.sqrt(2), (b**2 - 1) / math.sqrt(2))) < limit, lag


def test_the_same_column_over_many_keys_is_uniform() -> None:
    """Such as the number that says whether a sample's styles are mixed."""
    for keys in (keys_of(latents(COUNT, z_dim=2)), torch.arange(COUNT)):
        for column in keyed_uniform(keys, 2**16 + 1, 2).T:
            assert distance(column.sort().values) < 2.2 / math.sqrt(COUNT)
            centred = (column - 0.5) * math.sqrt(12)
            assert abs(correlation(centred[1:], centred[:-1])) < FIVE


def test_an_odd_count_is_the_same_numbers_in_any_batch() -> None:
    keys = keys_of(latents(5))
    together = keyed_normal(keys, 1, 7)
    assert together.shape == (5, 7)
    assert torch.equal(keyed_normal(keys[3:4], 1, 7), together[3:4])
    assert torch.equal(keyed_normal(keys.flip(0), 1, 7), together.flip(0))
    assert keyed_normal(keys, 1, 1).shape == (5, 1)


def test_a_key_is_of_the_latents_value_whatever_holds_it() -> None:
    z = latents(6)
    keys = keys_of(z)
    assert keys.dtype == torch.int64
    assert torch.equal(keys_of(z.double()), keys)
    assert torch.equal(keys_of(z.T.contiguous().T), keys)
    assert torch.equal(keys_of(z[1::2]), keys[1::2])
    assert torch.equal(keys_of(z.clone().requires_grad_()), keys)
    assert torch.equal(keys_of(z.bfloat16()), keys_of(z.bfloat16().float()))


def test_keys_differ_as_soon_as_latents_do() -> None:
    z = latents(1, 8)[0]
    others = [z, z.flip(0), -z, 2 * z, z.roll(1), torch.zeros(8)]
    for place in range(8):
        near = z.clone()
        near[place] = torch.nextafter(near[place], torch.tensor(9.0))
        others.append(near)
    assert len(keys_of(torch.stack(others)).unique()) == len(others)
    assert len(keys_of(latents(200_000, 2)).unique()) == 200_000
