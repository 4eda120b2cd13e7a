"""What lies beyond a picture's edges: its mirror image, endlessly, with the edge pixels twice."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(places: Tensor, side: int) -> Tensor:
    """Whole places of pixels on an endless line → those of the pixels that are seen there, 0 … side - 1."""
    folded = places.remainder(2 * side)
    return torch.minimum(folded, 2 * side - 1 - folded)


def mirrored_position(positions: Tensor, side: int) -> Tensor:
    """The same of positions between 0, the first edge, and side, the last."""
    folded = positions.remainder(2 * side)
    return torch.minimum(folded, 2 * side - folded)


def extended(x: Tensor, margin: int) -> Tensor:
    """[N, C, H, W] → [N, C, H + 2 margin, W + 2 margin]."""
    rows, columns = (mirrored(torch.arange(-margin, side + margin, device=x.device), side) for side in x.shape[-2:])
    return x[..., rows[:, None], columns]
