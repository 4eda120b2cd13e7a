"""Random numbers that follow from a latent: the same for the same z, on any worker, in any batch, after any restart.

StyleGAN's layers add noise to every pixel. Keyed by the sample's latent, which is itself keyed by (seed, purpose, step, index),
it needs no generator, no copy from the host and no bookkeeping; another latent gives independent noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The constants of MurmurHash3's 64-bit finaliser, as signed numbers (Appleby 2011; public domain).
_FIRST, _SECOND = -49064778989728563, -4265267296055464877
_STEP = -7046029254386353131  # 2^64 / golden ratio: consecutive counters far apart (Steele et al. 2014, SplitMix64)


def keys_of(z: Tensor) -> Tensor:
    """A key for each latent of [N, z_dim]: int64 [N], of all of its bits."""
    bits = z.detach().double().contiguous().view(torch.int64)
    places = torch.arange(1, bits.shape[1] + 1, device=z.device) * _STEP
    return _mixed(_mixed(bits + places).sum(dim=1))


def keyed_uniform(keys: Tensor, purpose: int, count: int) -> Tensor:
    """Uniform in (0, 1), float64 [N, count], independent for each key, purpose and column."""
    counters = (torch.arange(count, device=keys.device) + (purpose << 32)) * _STEP
    bits = _mixed(_mixed(keys[:, None] ^ counters[None]) + _STEP)
    return ((bits >> 12) & (2**52 - 1)).double().add(0.5).mul(2.0**-52)


def keyed_normal(keys: Tensor, purpose: int, count: int) -> Tensor:
    """Standard normal, float32 [N, count] (Box and Muller 1958)."""
    half = (count + 1) // 2
    uniform = keyed_uniform(keys, purpose, 2 * half)
    radius, angle = (-2 * uniform[:, :half].log()).sqrt(), 2 * math.pi * uniform[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count].float()


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x)) * _FIRST
    x = (x ^ _shifted(x)) * _SECOND
    return x ^ _shifted(x)


def _shifted(x: Tensor) -> Tensor:
    """x >> 33 of the unsigned number that the bits of x are."""
    return (x >> 33) & (2**31 - 1)
