"""The covariance form, for unpaired batches: channel means, and how channels vary together (Deep CORAL, Sun and Saenko 2016).

Other than there, covariances between images and within images are compared apart, for the reason given in `moments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance, Layers, means


class _Covariances(NamedTuple):
    mean: Tensor  # [C]
    between: Tensor  # [C, C], of the images' means
    within: Tensor  # [C, C], about the images' means


def _covariances_of(features: Sequence[Tensor], collective: Collective) -> list[_Covariances]:
    """Of each layer's [N, C, h, w], over the global batch; gradients flow through."""
    images = [x.mean(dim=(2, 3)) for x in features]
    centres = means([x.mean(dim=0) for x in images], collective)
    # Detached as in `moments_of`: the covariance has no gradient in the mean of the global batch.
    centred = [x - centre.detach() for x, centre in zip(images, centres, strict=True)]
    rows = [(x - y[:, :, None, None]).movedim(1, -1).flatten(0, 2) for x, y in zip(features, images, strict=True)]
    found = means([part.T @ part / len(part) for part in (*centred, *rows)], collective)
    return [_Covariances(*parts) for parts in zip(centres, found[: len(images)], found[len(images) :], strict=True)]


def covariance(fake: Layers, real: Layers, distance: Distance, collective: Collective) -> list[Tensor]:
    """||μ_f - μ_r||² / tr Σ_r + (||B_f - B_r||_F² + ||W_f - W_r||_F²) / (||B_r||_F² + ||W_r||_F²); always Euclidean.

    B is the covariance between images, W that within them, Σ = B + W.
    """
    found = _covariances_of([*fake, *real], collective)
    return [_distance(f, r) for f, r in zip(found[: len(fake)], found[len(fake) :], strict=True)]


def _distance(f: _Covariances, r: _Covariances) -> Tensor:
    of_means = (f.mean - r.mean).square().sum() / ((r.between + r.within).trace() + TINY)
    apart = (f.between - r.between).square().sum() + (f.within - r.within).square().sum()
    return of_means + apart / (r.between.square().sum() + r.within.square().sum() + TINY**2)
