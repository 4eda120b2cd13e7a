"""The moments form, for unpaired batches: per channel, mean and standard deviation, between images and within them.

The spread over all positions of all images would not do: a generator that makes one image only, with as much going on in it as
there is in all real images together, would be at distance 0. And it would be drawn there, because the mean of a batch strays the
less the more alike its images are. So the variance is split into that of the images' means and that within images, which add up
to it (law of total variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance, Layers, means


class Moments(NamedTuple):
    """Moments of one layer's features by channel, each [C]."""

    mean: Tensor
    between: Tensor
    """Variance of the images' means over positions."""
    within: Tensor
    """Mean over images of the variance over positions."""

    @property
    def variance(self) -> Tensor:
        """Variance over all images and positions."""
        return self.between + self.within


def moments_of(features: Sequence[Tensor], collective: Collective) -> list[Moments]:
    """Moments of each layer's [N, C, h, w] over the global batch; gradients flow through."""
    images = [x.mean(dim=(2, 3)) for x in features]
    # Centred on the channel-wise mean for accuracy: E[x²] - E[x]² cancels badly in float32.
    centres = means([x.mean(dim=0) for x in images], collective)
    # The variance is smallest at the mean, so no gradient flows through it; but over a worker's own share it would not
    # vanish, and `Collective.mean` hands every worker only its own part.
    between = [(x - centre.detach()).square().mean(dim=0) for x, centre in zip(images, centres, strict=True)]
    within = [(x - y[:, :, None, None]).square().mean(dim=(0, 2, 3)) for x, y in zip(features, images, strict=True)]
    variances = means([*between, *within], collective)
    return [Moments(*found) for found in zip(centres, variances[: len(images)], variances[len(images) :], strict=True)]


def moments(fake: Layers, real: Layers, distance: Distance, collective: Collective) -> list[Tensor]:
    """(||μ_f - μ_r||² + ||β_f - β_r||² + ||ω_f - ω_r||²) / Σ_c σ_r², 0 when the moments agree; Euclidean, whatever ``distance``.

    β² is the variance between images, ω² that within them, σ² = β² + ω².
    """
    found = moments_of([*fake, *real], collective)
    return [_distance(f, r) for f, r in zip(found[: len(fake)], found[len(fake) :], strict=True)]


def _distance(f: Moments, r: Moments) -> Tensor:
    apart = (f.mean - r.mean).square().sum()
    for of_fake, of_real in ((f.between, r.between), (f.within, r.within)):
        # The square root's gradient is infinite at 0, which a dead channel reaches.
        apart = apart + ((of_fake + TINY).sqrt() - (of_real + TINY).sqrt()).square().sum()
    return apart / (r.variance.sum() + TINY)
