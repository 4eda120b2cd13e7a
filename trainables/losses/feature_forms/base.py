"""What the forms of the feature distance have in common.

A form compares features of generated images with those of real ones, layer by layer, and divides by the real features' own spread
over the global batch. So its value does not depend on the scale of a layer: the real images themselves are at distance 0, a
generator whose features all equal the real ones' mean at 1 (`nearest`: at most 1), and the same λ means the same for every
layer and backbone. All layers' statistics go over the workers together: a message costs more than what it carries here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.collective import Collective

Distance = Callable[[Tensor, Tensor], Tensor]
"""[..., C] and [..., C] → [...]; 0 where they agree."""

Layers = Sequence[Tensor]
"""[N, C, h, w] features of this worker's share, of each layer."""

FeatureForm = Callable[[Layers, Layers, Distance, Collective], list[Tensor]]
"""``form(fake, real, distance, collective)``: features of the same layers → a scalar for each layer, >= 0.

A scalar's mean over workers is that of the global batch. Gradients flow to ``fake``; ``real`` has none.
"""

TINY = 1e-8  # keeps a dead layer's spread from dividing by 0


def means(xs: Sequence[Tensor], collective: Collective) -> list[Tensor]:
    """`Collective.mean` of each, by one message."""
    if collective.world_size == 1:
        return list(xs)
    flat = collective.mean(torch.cat([x.reshape(-1) for x in xs]))
    return [part.view_as(x) for part, x in zip(flat.split([x.numel() for x in xs]), xs, strict=True)]


def spreads(real: Sequence[Tensor], distance: Distance, collective: Collective) -> list[Tensor]:
    """Of each layer, the mean distance of its vectors [..., C] from their mean, over the global batch, + `TINY`: its unit.

    Euclidean, it is the variance, summed over channels; L1, the mean absolute deviation.
    """
    rows = [x.reshape(-1, x.shape[-1]) for x in real]
    centres = means([x.mean(dim=0) for x in rows], collective)
    apart = means([distance(x, centre).mean() for x, centre in zip(rows, centres, strict=True)], collective)
    return [x + TINY for x in apart]
