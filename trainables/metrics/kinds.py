"""What can be measured between a set of real and a set of generated images: a new metric is a function and one line here.

Every kind maps two `Statistics` (real, generated) of the same features to one number. Its full name also says which features,
after which resize, and from how many generated images: see `trainables.metrics.names`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainables.metrics.distances import KernelDistance, frechet_distance, kernel_distance, kernel_sums
from trainables.metrics.neighbours import copied_share, coverage, density, precision, recall
from trainables.metrics.statistics import Statistics
from trainables.metrics.uncertainty import frechet_infinity, frechet_standard_error
from trainables.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of metric."""

    summary: str
    value: Callable[[Statistics, Statistics], float]  # (real, generated) → value
    lower_is_better: bool = True
    needs_rows: bool = True  # whether `value` reads single features, not only their mean and covariance
    needs_mirrored: bool = False  # whether `value` reads features of the mirrored real images as well


def _kid(real: Statistics, generated: Statistics) -> KernelDistance:
    rows = real.some_rows()
    return kernel_distance(rows, generated.every_row(), within_real=real.once("kernel sums", lambda: kernel_sums(rows)))


KINDS: Registry[Kind] = Registry(
    "metric",
    {
        "fid": Kind(summary="Fréchet distance of two Gaussians fitted to the features", value=frechet_distance, needs_rows=False),
        "fid_se": Kind(summary="standard error of fid over the choice of generated images", value=frechet_standard_error),
        "fid_infinity": Kind(summary="fid extrapolated to infinitely many generated images", value=frechet_infinity),
        "kid": Kind(
            summary="squared kernel distance (MMD², cubic kernel), unbiased, over all pairs",
            value=lambda real, generated: _kid(real, generated).value,
        ),
        "kid_se": Kind(
            summary="standard error of kid over the choice of generated images",
            value=lambda real, generated: _kid(real, generated).standard_error,
        ),
        "precision": Kind(summary="share of generated images within the real manifold", value=precision, lower_is_better=False),
        "recall": Kind(summary="share of real images within the generated manifold", value=recall, lower_is_better=False),
        "density": Kind(summary="real balls that hold a generated image, on average", value=density, lower_is_better=False),
        "coverage": Kind(summary="share of real balls that hold a generated image", value=coverage, lower_is_better=False),
        "diversity": Kind(
            summary="root mean square distance between generated images' features, relative to real images'",
            value=lambda real, generated: generated.spread / real.spread if real.spread else 1.0,
            lower_is_better=False,
            needs_rows=False,
        ),
        "copied": Kind(
            summary="share of generated images that copy a training image, mirrored or not",
            value=copied_share,
            needs_mirrored=True,
        ),
    },
)
