"""The moments form, for unpaired batches: per channel, mean and standard deviation over the global batch and all positions."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance


class Moments(NamedTuple):
    """Per-channel mean and variance of one layer's features, each [C]."""

    mean: Tensor
    variance: Tensor


def moments_of(x: Tensor, collective: Collective) -> Moments:
    """Moments of [N, C, h, w] features over the global batch and all positions; gradients flow through."""
    # Centred on the channel-wise mean for accuracy: E[x²] - E[x]² cancels badly in float32.
    mean = collective.mean(x.mean(dim=(0, 2, 3)))
    # The variance is smallest at the mean, so no gradient flows through it; but over a worker's own share it would not
    # vanish, and `Collective.mean` hands every worker only its own part.
    variance = collective.mean((x - mean.detach().view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3)))
    return Moments(mean, variance)


def moments(fake: Tensor, real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """(||μ_f - μ_r||² + ||σ_f - σ_r||²) / Σ_c σ_r², 0 when the moments agree; Euclidean, whatever ``distance``."""
    f, r = moments_of(fake, collective), moments_of(real, collective)
    # The square root's gradient is infinite at 0, which a dead channel reaches.
    sigma_f, sigma_r = (f.variance + TINY).sqrt(), (r.variance + TINY).sqrt()
    return ((f.mean - r.mean).square().sum() + (sigma_f - sigma_r).square().sum()) / (r.variance.sum() + TINY)
