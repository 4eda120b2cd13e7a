"""Arithmetic on activations in their own dtype.

On CUDA, autocast takes powers, reciprocal roots, norms and resampling to float32, the whole map with them: in half precision such
a step moves twice the bytes and half of it is float32 after all. (On a CPU it leaves them alone, so nothing of it shows there.)
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor


def own_dtype(x: Tensor) -> AbstractContextManager[None]:
    """Inside, what is done to ``x`` gives its dtype, whatever autocast says."""
    return torch.autocast(x.device.type, enabled=False)


def nearest(x: Tensor, factor: int) -> Tensor:
    """[N, C, h, w] → [N, C, factor · h, factor · w]: each pixel becomes a square of them."""
    if factor == 1:
        return x
    with own_dtype(x):
        return F.interpolate(x, scale_factor=float(factor), mode="nearest")


def bilinear(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, C, h, w] → [N, C, *size], half-pixel centres, not antialiased."""
    with own_dtype(x):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
