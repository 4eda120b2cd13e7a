"""Statistics → values: the Fréchet distance and the kernel distance, in float64.

Fréchet distance of two Gaussians (Dowson & Landau 1982; on Inception features: Heusel et al. 2017, eq. 6)::

    |μ1 - μ2|² + Tr C1 + Tr C2 - 2 Tr (C1 C2)^½

With C = FᵀF for both, the last trace is the sum of the singular values of F1 F2ᵀ (its squared singular values are the non-zero
eigenvalues of C1 C2). So no matrix square root is needed and nothing can become complex.

Kernel distance (KID, Bińkowski et al. 2018): MMD² with the kernel (xᵀy/D + 1)³, unbiased.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.metrics.statistics import Statistics


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Fréchet distance of the Gaussians fitted to two sets of features, >= 0; in squared units of the features.

    Raises:
        ValueError: fewer than two images, different numbers of dimensions, or values that are not finite.
    """
    for name, side in (("first", a), ("second", b)):
        if side.count < 2:
            raise ValueError(f"a Fréchet distance needs at least 2 images on each side; the {name} has {side.count}")
        if not (side.mean.isfinite().all() and (side.scatter is None or side.scatter.isfinite().all())):
            raise ValueError(f"the features of the {name} set are not finite")
    if a.dim != b.dim:
        raise ValueError(f"features of {a.dim} and of {b.dim} dimensions cannot be compared")
    shift = (a.mean - b.mean).square().sum()
    value = float(shift + _trace(a) + _trace(b) - 2 * coupling(a, b))
    if not math.isfinite(value):
        raise ValueError(f"the Fréchet distance is {value}: the features are too large for float64")
    return max(value, 0.0)  # it cannot be negative: below zero is rounding


def coupling(a: Statistics, b: Statistics) -> float:
    """Tr (C1 C2)^½ by the cheapest exact way that the ranks allow."""
    if a.scatter is None and b.scatter is None:
        return _nuclear_norm(a.factor() @ b.factor().T)
    if a.scatter is None:
        return _nuclear_norm(a.factor() @ _root(b))
    if b.scatter is None:
        return _nuclear_norm(b.factor() @ _root(a))
    eigenvalues = torch.linalg.eigvalsh(_between(_root(a), b.covariance), UPLO="L")
    return float(eigenvalues.clamp(min=0).sqrt().sum())


def _trace(a: Statistics) -> Tensor:
    return _variances(a).sum()


def _variances(a: Statistics) -> Tensor:
    return a.scatter.diagonal() / (a.count - 1) if a.scatter is not None else a.factor().square().sum(0)


def _root(a: Statistics) -> Tensor:
    """R with R Rᵀ = covariance, float64 [D, K], K <= D; remembered, because the real set meets many generated ones."""
    return a.once("root", lambda: _compute_root(a.covariance))


def _compute_root(covariance: Tensor) -> Tensor:
    """Cholesky, and where the matrix is singular its eigenvectors with eigenvalues clipped at 0."""
    # A constant feature has a zero row and column, which would make Cholesky fail and which the root can simply repeat.
    alive = covariance.diagonal() > 0
    whole = bool(alive.all())
    core = covariance if whole else covariance[alive][:, alive]
    factor, failed = torch.linalg.cholesky_ex(core)
    if failed.item():
        values, vectors = torch.linalg.eigh(core)
        factor = vectors * values.clamp(min=0).sqrt()
    if whole:
        return factor
    root = covariance.new_zeros(len(covariance), len(core))
    root[alive] = factor
    return root


def _between(root: Tensor, covariance: Tensor) -> Tensor:
    """The lower triangle of rootᵀ C root, float64 [K, K]; what stands above the diagonal is not to be read.

    A Cholesky factor is zero above its diagonal (also with rows of constant features put in) and the product is symmetric, so
    LAPACK's ``dsygst`` takes a quarter of the multiplications of two products.
    """
    if root.shape[0] != root.shape[1] or root.triu(1).any():
        return root.T @ covariance @ root
    from scipy.linalg import lapack

    # Fortran's order of columns: rows here are columns there, so the lower triangle goes in and comes out as the upper one.
    product, failed = lapack.dsygst(covariance.numpy().T, root.numpy().T, itype=3, lower=0)
    assert failed == 0
    return torch.from_numpy(product.T)


def _nuclear_norm(x: Tensor) -> float:
    return float(torch.linalg.svdvals(x).sum())


@dataclass(frozen=True)
class KernelDistance:
    """MMD² and how far it may be off."""

    value: float
    standard_error: float  # over the choice of generated images; the real images count as given


def kernel_distance(real: Tensor, generated: Tensor, *, degree: int = 3, within_real: Tensor | None = None) -> KernelDistance:
    """KID over all pairs: the value that the customary random subsets scatter around, without their randomness.

    Args:
        real: features [N, D]; generated: features [M, D]; at least 2 each.
        degree: of the polynomial kernel (xᵀy/D + 1)^degree.
        within_real: ``kernel_sums(real, degree)``, where the caller has it already.
    """
    _check_pair(real, generated)
    if within_real is None:
        within_real = kernel_sums(real, degree)
    within_generated = kernel_sums(generated, degree)
    across = _row_sums(generated, real, degree)
    n, m = real.shape[0], generated.shape[0]
    value = within_real.sum() / (n * (n - 1)) + within_generated.sum() / (m * (m - 1)) - 2 * across.sum() / (n * m)
    # First-order influence of each generated image on the value (Hoeffding's projection of the U-statistic).
    influence = 2 * (within_generated / (m - 1) - across / n)
    return KernelDistance(float(value), float(influence.std() / m**0.5))


def kernel_distance_by_subsets(
    real: Tensor, generated: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int | torch.Generator = 0
) -> tuple[float, float]:
    """KID as other libraries define it: mean and standard deviation over random subsets, drawn from ``seed``.

    Subsets are drawn in the order of torchmetrics (real, then generated, by ``torch.randperm``).
    """
    _check_pair(real, generated)
    if subset_size > min(real.shape[0], generated.shape[0]):
        raise ValueError(f"subset_size {subset_size} exceeds the number of images ({real.shape[0]}, {generated.shape[0]})")
    draw = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    values = []
    for _ in range(subsets):
        x = real[torch.randperm(real.shape[0], generator=draw)[:subset_size]]
        y = generated[torch.randperm(generated.shape[0], generator=draw)[:subset_size]]
        values.append(kernel_distance(x, y).value)
    each = torch.tensor(values, dtype=torch.float64)
    return float(each.mean()), float(each.std(correction=0))


def _check_pair(real: Tensor, generated: Tensor) -> None:
    if min(real.shape[0], generated.shape[0]) < 2:
        raise ValueError(f"a kernel distance needs at least 2 images on each side, got {real.shape[0]} and {generated.shape[0]}")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(f"features of {real.shape[1]} and of {generated.shape[1]} dimensions cannot be compared")


def _row_sums(x: Tensor, y: Tensor, degree: int, block: int = 1024) -> Tensor:
    """Σ_j k(x_i, y_j), float64 [N], without holding the whole N x M matrix."""
    y = y.double()
    return torch.cat([((part.double() @ y.T) / x.shape[1] + 1).pow(degree).sum(1) for part in x.split(block)])


def kernel_sums(x: Tensor, degree: int = 3) -> Tensor:
    """Σ_{j≠i} k(x_i, x_j), float64 [N]."""
    return _row_sums(x, x, degree) - (x.double().square().sum(1) / x.shape[1] + 1).pow(degree)
