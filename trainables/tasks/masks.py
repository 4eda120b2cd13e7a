"""Random masks of what is missing: boxes, or free-form strokes after Yu et al. 2019 (Free-Form Image Inpainting, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.registry import Registry

Shape = Callable[[int, int, torch.Generator], Tensor]
"""(height, width, draw) → bool [height, width]: one random shape, never empty."""


def random_mask(kind: str, share: float, height: int, width: int, draw: torch.Generator) -> Tensor:
    """bool [height, width], True where missing: shapes of this ``kind`` are added until at least ``share`` of the area is."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    while int(mask.sum()) < share * height * width:
        mask |= MASKS[kind](height, width, draw)
    return mask


def _box(height: int, width: int, draw: torch.Generator) -> Tensor:
    """A rectangle whose sides are between an eighth and a third of the picture's."""
    u = torch.rand(4, generator=draw).tolist()
    h, w = (max(1, round(side * (1 / 8 + v * (1 / 3 - 1 / 8)))) for side, v in zip((height, width), u[:2], strict=True))
    top, left = int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1))
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : top + h, left : left + w] = True
    return mask


def _stroke(height: int, width: int, draw: torch.Generator) -> Tensor:
    """A brush stroke: a random walk of 2 to 6 segments whose turns alternate, with round ends, inside the picture."""
    side = min(height, width)
    start = torch.rand(2, generator=draw) * torch.tensor([height, width])
    u = torch.rand(2, generator=draw).tolist()
    segments, radius = 2 + int(u[0] * 5), max(0.75, side * (0.03 + 0.04 * u[1]))
    angles = torch.rand(segments, generator=draw) * (2 * math.pi / 5) + 2 * math.pi / 5
    angles = torch.where(torch.arange(segments) % 2 == 0, angles, 2 * math.pi - angles) + torch.rand(1, generator=draw) * 6.3
    lengths = side * (0.08 + 0.17 * torch.rand(segments, generator=draw))
    grid = torch.stack(torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"), -1)
    nearest = torch.full((height, width), math.inf)
    for angle, length in zip(angles.tolist(), lengths.tolist(), strict=True):
        end = start + length * torch.tensor([math.sin(angle), math.cos(angle)])
        end = torch.minimum(end.clamp_min(0), torch.tensor([float(height), float(width)]))
        along = end - start
        t = ((grid - start) @ along / along.square().sum().clamp_min(1e-6)).clamp(0, 1)
        nearest = torch.minimum(nearest, (grid - start - t[..., None] * along).norm(dim=-1))
        start = end
    return nearest <= radius


MASKS: Registry[Shape] = Registry("mask", {"boxes": _box, "free_form": _stroke})
