"""Distances of feature vectors, along the last dimension."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||², as in the documents."""
    return (a - b).square().sum(dim=-1)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Σ |a - b|."""
    return (a - b).abs().sum(dim=-1)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos(a, b), in [0, 2]; as half the squared chord, which is exact for small angles too."""
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).square().sum(dim=-1) / 2
