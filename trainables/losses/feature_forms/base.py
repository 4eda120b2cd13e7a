"""What the forms of the feature distance have in common.

A form compares one layer's features of generated images with those of real ones, and divides by the real features' own spread
over the global batch. So its value does not depend on the scale of a layer: the real images themselves are at distance 0, a
generator whose features all equal the real ones' mean at 1 (`nearest`: at most 1), and the same λ means the same for every
layer and backbone.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from trainables.collective import Collective

Distance = Callable[[Tensor, Tensor], Tensor]
"""[..., C] and [..., C] → [...]; 0 where they agree."""

FeatureForm = Callable[[Tensor, Tensor, Distance, Collective], Tensor]
"""``form(fake, real, distance, collective)``: [N, C, h, w] features of this worker's share → its scalar, >= 0.

The scalar's mean over workers is that of the global batch. Gradients flow to ``fake``; ``real`` has none.
"""

TINY = 1e-8  # keeps a dead layer's spread from dividing by 0


def spread(real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """Mean distance of feature vectors [..., C] from their mean, over the global batch, + `TINY`: the unit of a layer.

    Euclidean, it is the variance, summed over channels; L1, the mean absolute deviation.
    """
    rows = real.reshape(-1, real.shape[-1])
    mean = collective.mean(rows.mean(dim=0))
    return collective.mean(distance(rows, mean).mean()) + TINY
