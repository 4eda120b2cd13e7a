from __future__ import annotations

import math

import pytest
import torch

from trainables.metrics.distances import (
    KernelDistance,
    frechet_distance,
    kernel_distance,
    kernel_distance_by_subsets,
    kernel_sums,
)
from trainables.metrics.statistics import Statistics


def draw(count: int, dim: int, seed: int, *, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator) / dim**0.5
    return torch.randn(count, dim, generator=generator) @ mixing * scale + shift


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    """With the eigenvalues of the unsymmetric product: slow and less accurate, but plainly the definition."""
    a, b = Statistics.of(x), Statistics.of(y)
    root = torch.linalg.eigvals(a.covariance @ b.covariance).real.clamp(min=0).sqrt().sum()
    traces = a.covariance.trace() + b.covariance.trace()
    return float((a.mean - b.mean).square().sum() + traces) - 2 * float(root)


def frechet(x: torch.Tensor, y: torch.Tensor) -> float:
    return frechet_distance(Statistics.of(x, keep=False), Statistics.of(y, keep=False))


@pytest.mark.parametrize(("n", "m"), [(300, 200), (300, 20), (20, 300), (20, 30), (33, 32)])
def test_every_combination_of_ranks_gives_the_same_distance(n: int, m: int) -> None:
    """32 dimensions, with more and with fewer images; the square root of a singular matrix is the less accurate side."""
    x, y = draw(n, 32, 1), draw(m, 32, 2, scale=1.5, shift=0.3)
    assert frechet(x, y) == pytest.approx(by_definition(x, y), rel=1e-6)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-10)


@pytest.mark.parametrize("count", [500, 20])
def test_identical_sets_have_no_distance(count: int) -> None:
    x = draw(count, 32, 1)
    assert frechet(x, x) == pytest.approx(0, abs=1e-10 * float(x.var(0).sum()))


@pytest.mark.parametrize("count", [400, 12])
def test_a_shift_gives_its_squared_length(count: int) -> None:
    x = draw(count, 16, 1).double()
    assert frechet(x, x + 2) == pytest.approx(4 * 16, rel=1e-9)


@pytest.mark.parametrize("count", [400, 12])
def test_scaling_by_s_gives_the_closed_form(count: int) -> None:
    """N(0, C) against N(0, s²C): (s - 1)² Tr C. Checked in float64 because float32 rows round the scaled features."""
    x = draw(count, 16, 1).double()
    x = (x - x.mean(0)).float()
    x = x - x.mean(0)
    expected = (2 - 1) ** 2 * float(Statistics.of(x).covariance.trace()) + float(Statistics.of(x).mean.square().sum())
    assert frechet(x, 2 * x) == pytest.approx(expected, rel=1e-10)


def test_diagonal_gaussians_have_the_closed_form() -> None:
    """Σ (μ1 - μ2)² + (σ1 - σ2)², exactly, on features built to have these moments."""
    base = draw(300, 8, 5).double()
    base = base - base.mean(0)
    white = base @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(base.T)).T)
    s1, s2 = torch.linspace(1, 2, 8).double(), torch.linspace(3, 1, 8).double()
    value = frechet(white * s1, white * s2 + 1)
    assert value == pytest.approx(float((s1 - s2).square().sum() + 8), rel=1e-9)


def test_rank_deficient_covariances() -> None:
    """More images than dimensions, but the features lie in a subspace: Cholesky fails and clipped eigenvalues take over."""
    basis = draw(6, 32, 9).double()
    x, y = draw(200, 6, 1).double() @ basis, draw(200, 6, 2, scale=1.3).double() @ basis
    few = frechet(x[:20], y[:20])
    assert math.isfinite(few)
    # In the subspace itself both covariances are regular.
    q = torch.linalg.qr(basis.T).Q
    assert frechet(x, y) == pytest.approx(frechet(x @ q, y @ q), rel=1e-6)
    assert frechet(x, x) == pytest.approx(0, abs=1e-6 * float(x.var(0).sum()))


def test_constant_features() -> None:
    x = torch.full((50, 8), 3.0)
    y = torch.full((50, 8), 5.0)
    assert frechet(x, x) == 0
    assert frechet(x, y) == pytest.approx(32)
    half = draw(50, 8, 1)
    half[:, :4] = 1.0
    assert frechet(half, draw(50, 8, 2)) == pytest.approx(by_definition(half, draw(50, 8, 2)), rel=1e-6)


def test_one_image_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="at least 2 images on each side; the second has 1"):
        frechet(draw(10, 4, 1), draw(1, 4, 2))


def test_different_widths_and_values_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="features of 4 and of 5 dimensions"):
        frechet(draw(10, 4, 1), draw(10, 5, 2))
    with pytest.raises(ValueError, match="first set are not finite"):
        frechet(torch.full((10, 4), math.nan), draw(10, 4, 2))


def kernel_matrices(x: torch.Tensor, y: torch.Tensor) -> float:
    """Unbiased MMD² by the formula of the paper."""
    n, m, d = len(x), len(y), x.shape[1]
    kxx, kyy, kxy = ((a.double() @ b.double().T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (kxx.sum() - kxx.trace()) / (n * (n - 1)) + (kyy.sum() - kyy.trace()) / (m * (m - 1))
    return float(within - 2 * kxy.mean())


def test_kernel_distance_is_the_formula() -> None:
    x, y = draw(70, 16, 1), draw(50, 16, 2, shift=0.5)
    assert kernel_distance(x, y).value == pytest.approx(kernel_matrices(x, y), rel=1e-12)


def test_kernel_distance_is_unbiased_and_its_standard_error_is_right() -> None:
    """Two samples of one distribution, 200 times: the mean is 0 within its error, and the errors claimed match the scatter."""
    real = draw(1000, 8, 1)
    generator = torch.Generator().manual_seed(4)

    def sample(reference: torch.Tensor) -> list[KernelDistance]:
        within = kernel_sums(reference)
        draws = (real[torch.randint(1000, (60,), generator=generator)] for _ in range(200))
        return [kernel_distance(reference, drawn, within_real=within) for drawn in draws]

    results = sample(real)
    values = torch.tensor([r.value for r in results])
    assert abs(values.mean()) < 4 * values.std() / 200**0.5
    # At distance 0 the first-order term vanishes, so the claim is checked away from it.
    far = sample(real + 1)
    scatter = torch.tensor([r.value for r in far]).std()
    claimed = torch.tensor([r.standard_error for r in far]).mean()
    assert claimed == pytest.approx(float(scatter), rel=0.2)


def test_subsets_scatter_around_the_distance_over_all_pairs_and_depend_on_the_seed_alone() -> None:
    x, y = draw(300, 8, 1), draw(300, 8, 2, shift=0.3)
    mean, spread = kernel_distance_by_subsets(x, y, subsets=50, subset_size=100, seed=1)
    assert (mean, spread) == kernel_distance_by_subsets(x, y, subsets=50, subset_size=100, seed=1)
    assert mean == pytest.approx(kernel_distance(x, y).value, abs=4 * spread / 50**0.5)
    with pytest.raises(ValueError, match="subset_size 301 exceeds"):
        kernel_distance_by_subsets(x, y, subset_size=301)


def test_kernel_distance_of_one_image_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="at least 2 images"):
        kernel_distance(draw(1, 4, 1), draw(10, 4, 1))
