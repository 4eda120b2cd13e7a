"""Random numbers keyed by what they are for, so that neither the number of workers nor a restart changes them.

Every random number of a sample (noise, augmentation, order) is a function of (seed, purpose, step) and of the sample's index in
the global batch. Numbers are drawn on the CPU for the whole global batch and a worker takes its rows.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU generator that depends on ``seed`` and ``key`` alone."""
    return torch.Generator().manual_seed(int.from_bytes(_digest(seed, *key), "little") >> 1)


def sample_keys(indices: Tensor, seed: int, *key: str | int) -> Tensor:
    """A key for each of ``indices``, int64 [N], for `trainables.layers.keyed_noise`: on their device, nothing is copied to it.

    Consecutive keys are as good as any there; those of another ``seed`` or ``key`` begin at a place of their own among 2^64.
    """
    return indices + int.from_bytes(_digest(seed, *key), "little", signed=True)


def _digest(seed: int, *key: str | int) -> bytes:
    return hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest()


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order in which epoch ``epoch`` visits ``count`` images, int64 [count]."""
    return torch.randperm(count, generator=keyed_generator(seed, "order", epoch))


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Image indices of global batch ``step``, int64 [batch_size]: the endless sequence of epochs, cut into batches."""
    start = step * batch_size
    positions = torch.arange(start, start + batch_size)
    epochs = positions // count
    parts = [epoch_order(count, seed, int(epoch))[positions[epochs == epoch] % count] for epoch in epochs.unique()]
    return torch.cat(parts)


def noise(count: int, z_dim: int, seed: int, *key: str | int) -> Tensor:
    """Standard normal latents, float32 [count, z_dim]."""
    return torch.randn(count, z_dim, generator=keyed_generator(seed, *key))


_BLOCK = 64


def indexed_noise(indices: Tensor, z_dim: int, seed: int, purpose: str) -> Tensor:
    """Latents that depend on each index alone, whatever the other indices are: float32 [len(indices), z_dim]."""
    blocks = indices // _BLOCK
    drawn = {int(block): noise(_BLOCK, z_dim, seed, purpose, int(block)) for block in blocks.unique()}
    return torch.stack([drawn[int(block)][int(index) % _BLOCK] for block, index in zip(blocks, indices, strict=True)])
