from __future__ import annotations

import pytest
import torch

from trainables.metrics.distances import frechet_distance
from trainables.metrics.statistics import Statistics
from trainables.metrics.uncertainty import frechet_infinity, frechet_standard_error


def draw(count: int, seed: int, *, shift: float = 0.0, dim: int = 12) -> Statistics:
    scale = torch.linspace(0.5, 2, dim)
    return Statistics.of(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) * scale + shift)


@pytest.mark.parametrize(("count", "dim"), [(150, 12), (60, 100)])
def test_the_standard_error_is_the_scatter_of_repeated_draws(count: int, dim: int) -> None:
    """With more and with fewer images than dimensions."""
    real = draw(1000, 0, dim=dim)
    draws = [draw(count, seed, shift=0.3, dim=dim) for seed in range(1, 61)]
    scatter = torch.tensor([frechet_distance(real, x) for x in draws]).std()
    claimed = torch.tensor([frechet_standard_error(real, x) for x in draws[:30]]).square().mean().sqrt()
    assert float(claimed) == pytest.approx(float(scatter), rel=0.35)


def test_extrapolation_removes_the_bias_of_few_generated_images() -> None:
    """True distance 0.3² · 12; the plain value is biased upwards by several standard errors."""
    real = draw(200_000, 0)
    draws = [draw(200, seed, shift=0.3) for seed in range(1, 31)]
    plain = torch.tensor([frechet_distance(real, x) for x in draws])
    extrapolated = torch.tensor([frechet_infinity(real, x) for x in draws])
    true = 0.3**2 * 12
    assert abs(extrapolated.mean() - true) < 0.25 * abs(plain.mean() - true)


def test_the_same_features_give_the_same_numbers() -> None:
    real, generated = draw(300, 0), draw(200, 1)
    before = torch.random.get_rng_state()
    for value in (frechet_infinity, frechet_standard_error):
        assert value(real, generated) == value(real, generated)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs more than 26 generated images, but n=25"):
        frechet_infinity(draw(300, 0), draw(25, 1))
    with pytest.raises(ValueError, match="at least 20 generated images"):
        frechet_standard_error(draw(300, 0), draw(19, 1))
