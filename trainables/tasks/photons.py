"""Photon counts, Poisson-distributed numbers, by keyed random numbers and on any device.

`torch.poisson` rejects candidates, so that how many numbers a sample takes depends on its values. Here each count is the quantile
of one normal number, in a fixed number of operations on whole tensors: for bright pixels by the expansion around the normal
distribution of Giles 2016 (Algorithm 955, ACM TOMS 42(1), equations 9 to 11: CUDA's way too), for dark ones, where that is not
good enough, exactly, by bisection in a table of distribution functions. The table is small because pictures have 256 levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.layers.keyed_noise import keyed_normal
from trainables.tasks.ranges import to_levels

_BRIGHT = 16.0  # mean counts from which the expansion serves: its distribution function is off by less than 1e-4
_COUNTS = 64  # of a dark pixel, at most: more come up once in 1e17 times


def photon_counts(images: Tensor, photons: Tensor, keys: Tensor, purpose: int) -> Tensor:
    """Counts of every value of ``images`` [N, C, H, W] in [-1, 1], float32 [N, C, H, W], whole numbers.

    Args:
        photons: that white counts on average, [N]; black counts none.
        keys, purpose: see `keyed_normal`.
    """
    levels = to_levels(images)
    normal = keyed_normal(keys, purpose, images[0].numel()).view(images.shape)
    mean = levels / 255 * photons.view(-1, 1, 1, 1)
    return torch.where(mean < _BRIGHT, _of_dark(levels, photons, normal), _of_bright(mean.clamp_min(_BRIGHT), normal))


def _of_bright(mean: Tensor, w: Tensor) -> Tensor:
    root = mean.sqrt()
    x = mean + root * w + (1 / 3 + w**2 / 6) - (w / 36 + w**3 / 72) / root + (-8 / 405 + 7 / 810 * w**2 + w**4 / 270) / mean
    return x.floor()


def _of_dark(levels: Tensor, photons: Tensor, w: Tensor) -> Tensor:
    """The smallest k with P(count <= k) >= Φ(w), by six bisections; any number where the mean is not small."""
    counts = torch.arange(_COUNTS, device=levels.device, dtype=torch.float64)
    mean = (torch.arange(256, device=levels.device, dtype=torch.float64) / 255 * photons.double()[:, None]).clamp_max(_BRIGHT)
    probability = torch.exp(torch.xlogy(counts, mean[..., None]) - mean[..., None] - torch.lgamma(counts + 1))
    table = probability.cumsum(-1).float()  # [N, 256, counts]
    first = torch.arange(len(levels), device=levels.device).view(-1, 1, 1, 1) * (256 * _COUNTS) + levels.long() * _COUNTS
    share, table, at = torch.special.ndtr(w), table.flatten(), torch.zeros_like(first)
    step = _COUNTS // 2
    while step:
        at = at + step * (table[first + at + (step - 1)] < share)
        step //= 2
    return at.float()
