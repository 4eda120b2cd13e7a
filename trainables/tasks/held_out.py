"""Which pictures of a paired task are kept from training."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.randomness import keyed_generator


def split(count: int, share: float) -> tuple[Tensor, Tensor]:
    """Picture indices for training and for evaluation, both int64 and increasing.

    They depend on ``count`` and ``share`` alone, not on a trial's seed: all trials of all sweeps over a data set are judged by
    the same pictures. Indices are of pictures; a mirrored picture belongs where the picture itself does.

    Raises:
        ValueError: fewer than two pictures, or a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"0 < held_out < 1 must hold, but got {share}")
    if count < 2:
        raise ValueError(f"a paired task needs at least 2 pictures, one of them to evaluate by, but got {count}")
    kept = min(max(round(count * share), 1), count - 1)
    order = torch.randperm(count, generator=keyed_generator(0, "held out"))
    return order[kept:].sort().values, order[:kept].sort().values
