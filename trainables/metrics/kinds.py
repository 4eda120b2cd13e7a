"""What can be measured between a set of real and a set of generated images: a new metric is a function and one line here.

Every kind maps two `Statistics` (real, generated) of the same features to one number. Its full name also says which features,
after which resize, and from how many generated images: see `trainables.metrics.names`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainables.metrics.distances import KernelDistance, frechet_distance, kernel_distance, kernel_sums
from trainables.metrics.statistics import Statistics
from trainables.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of metric."""

    summary: str
    value: Callable[[Statistics, Statistics], float]  # (real, generated) → value
    lower_is_better: bool = True
    needs_rows: bool = False  # whether `value` reads single features, not only their mean and covariance


def _kid(real: Statistics, generated: Statistics) -> KernelDistance:
    rows = real.some_rows()
    return kernel_distance(rows, generated.every_row(), within_real=real.once("kernel sums", lambda: kernel_sums(rows)))


KINDS: Registry[Kind] = Registry(
    "metric",
    {
        "fid": Kind(summary="Fréchet distance of two Gaussians fitted to the features", value=frechet_distance),
        "kid": Kind(
            summary="squared kernel distance (MMD², cubic kernel), unbiased, over all pairs",
            value=lambda real, generated: _kid(real, generated).value,
            needs_rows=True,
        ),
    },
)
