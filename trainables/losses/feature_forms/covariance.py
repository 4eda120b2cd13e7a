"""The covariance form, for unpaired batches: channel means, and how channels vary together (Deep CORAL, Sun and Saenko 2016).

Other than there, covariances between images and within images are compared apart, for the reason given in `moments`.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance


class _Covariances(NamedTuple):
    mean: Tensor  # [C]
    between: Tensor  # [C, C], of the images' means
    within: Tensor  # [C, C], about the images' means


def _covariances_of(x: Tensor, collective: Collective) -> _Covariances:
    """Of [N, C, h, w] features, over the global batch; gradients flow through."""
    images = x.mean(dim=(2, 3))
    mean = collective.mean(images.mean(dim=0))
    # Detached as in `moments_of`: the covariance has no gradient in the mean of the global batch.
    centred = images - mean.detach()
    rows = (x - images[:, :, None, None]).movedim(1, -1).flatten(0, 2)
    between, within = (collective.mean(part.T @ part / len(part)) for part in (centred, rows))
    return _Covariances(mean, between, within)


def covariance(fake: Tensor, real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """||μ_f - μ_r||² / tr Σ_r + (||B_f - B_r||_F² + ||W_f - W_r||_F²) / (||B_r||_F² + ||W_r||_F²); always Euclidean.

    B is the covariance between images, W that within them, Σ = B + W.
    """
    f, r = _covariances_of(fake, collective), _covariances_of(real, collective)
    of_means = (f.mean - r.mean).square().sum() / ((r.between + r.within).trace() + TINY)
    apart = (f.between - r.between).square().sum() + (f.within - r.within).square().sum()
    return of_means + apart / (r.between.square().sum() + r.within.square().sum() + TINY**2)
