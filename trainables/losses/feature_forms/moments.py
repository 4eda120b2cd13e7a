"""The moments form, for unpaired batches: per channel, mean and standard deviation, between images and within them.

The spread over all positions of all images would not do: a generator that makes one image only, with as much going on in it as
there is in all real images together, would be at distance 0. And it would be drawn there, because the mean of a batch strays the
less the more alike its images are. So the variance is split into that of the images' means and that within images, which add up
to it (law of total variance).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import TINY, Distance


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


def moments_of(x: Tensor, collective: Collective) -> Moments:
    """Moments of [N, C, h, w] features over the global batch; gradients flow through."""
    images = x.mean(dim=(2, 3))
    # Centred on the channel-wise mean for accuracy: E[x²] - E[x]² cancels badly in float32.
    mean = collective.mean(images.mean(dim=0))
    # The variance is smallest at the mean, so no gradient flows through it; but over a worker's own share it would not
    # vanish, and `Collective.mean` hands every worker only its own part.
    between = collective.mean((images - mean.detach()).square().mean(dim=0))
    within = collective.mean((x - images[:, :, None, None]).square().mean(dim=(0, 2, 3)))
    return Moments(mean, between, within)


def moments(fake: Tensor, real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """(||μ_f - μ_r||² + ||β_f - β_r||² + ||ω_f - ω_r||²) / Σ_c σ_r², 0 when the moments agree; Euclidean, whatever ``distance``.

    β² is the variance between images, ω² that within them, σ² = β² + ω².
    """
    f, r = moments_of(fake, collective), moments_of(real, collective)
    apart = (f.mean - r.mean).square().sum()
    for of_fake, of_real in ((f.between, r.between), (f.within, r.within)):
        # The square root's gradient is infinite at 0, which a dead channel reaches.
        apart = apart + ((of_fake + TINY).sqrt() - (of_real + TINY).sqrt()).square().sum()
    return apart / (r.variance.sum() + TINY)
