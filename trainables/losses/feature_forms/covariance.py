"""The covariance form, for unpaired batches: channel means, and how channels vary together (Deep CORAL, Sun and Saenko 2016)."""

from __future__ import annotations

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance


def _mean_and_covariance(x: Tensor, collective: Collective) -> tuple[Tensor, Tensor]:
    """[C] and [C, C] of [N, C, h, w] features, over the global batch and all positions; gradients flow through."""
    rows = x.movedim(1, -1).flatten(0, 2)
    mean = collective.mean(rows.mean(dim=0))
    # Detached as in `moments_of`: the covariance has no gradient in the mean of the global batch.
    centred = rows - mean.detach()
    return mean, collective.mean(centred.T @ centred / len(rows))


def covariance(fake: Tensor, real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """||μ_f - μ_r||² / tr Σ_r + ||Σ_f - Σ_r||_F² / ||Σ_r||_F²; Euclidean, whatever ``distance``."""
    (mean_f, cov_f), (mean_r, cov_r) = _mean_and_covariance(fake, collective), _mean_and_covariance(real, collective)
    of_means = (mean_f - mean_r).square().sum() / (cov_r.trace() + TINY)
    return of_means + (cov_f - cov_r).square().sum() / (cov_r.square().sum() + TINY**2)
