"""Feature distance L_FD = Σ_i d(F_i(G(z)), F_i(x)), for unpaired batches.

The documents' per-sample form ||F_i(G(z)) - F_i(x)||² has its optimum at the mean feature when z and x are not paired, and so
pushes towards collapse. Unpaired, the distributions are compared instead: per channel, the mean and the standard deviation over
the global batch and all positions. Each layer's distance is divided by the real features' variance (summed over channels), which
makes it dimensionless: the same λ means the same for every layer and backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from trainables.collective import Collective


class Moments(NamedTuple):
    """Per-channel mean and variance of one layer's features, each [C]."""

    mean: Tensor
    variance: Tensor


def moments(features: Mapping[str, Tensor], collective: Collective) -> dict[str, Moments]:
    """Moments of each layer's [N, C, h, w] features over the global batch and all positions; gradients flow through."""
    result = {}
    for layer, x in features.items():
        # Centred on the first channel-wise mean for accuracy: E[x²] - E[x]² cancels badly in float32.
        mean = collective.mean(x.mean(dim=(0, 2, 3)))
        # The variance is smallest at the mean, so no gradient flows through it; but over a worker's own share it would not
        # vanish, and `Collective.mean` hands every worker only its own part.
        variance = collective.mean((x - mean.detach().view(1, -1, 1, 1)).square().mean(dim=(0, 2, 3)))
        result[layer] = Moments(mean, variance)
    return result


def feature_distance(fake: Mapping[str, Moments], real: Mapping[str, Moments]) -> Tensor:
    """Σ_layers (||μ_f - μ_r||² + ||σ_f - σ_r||²) / Σ_c σ_r², a scalar >= 0; 0 when all moments agree."""
    terms = []
    for layer, f in fake.items():
        r = real[layer]
        # The square root's gradient is infinite at 0, which a dead channel reaches.
        sigma_f, sigma_r = (f.variance + 1e-8).sqrt(), (r.variance + 1e-8).sqrt()
        distance = (f.mean - r.mean).square().sum() + (sigma_f - sigma_r).square().sum()
        terms.append(distance / (r.variance.sum() + 1e-8))
    return torch.stack(terms).sum()
