"""Random masks of what is missing: boxes, or free-form strokes after Yu et al. 2019 (Free-Form Image Inpainting, algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from trainables.registry import Registry

_SEGMENTS = 6  # of a stroke, at most

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
    """A brush stroke: a walk of 2 to 6 segments whose turns alternate in sense, with round joints and ends."""
    u = torch.rand(5 + 2 * _SEGMENTS, generator=draw).tolist()
    side, turn = min(height, width), 2 * math.pi * u[0]
    x, y, brush = u[1] * width, u[2] * height, max(1, round(side * (0.06 + 0.08 * u[3])))
    points = [(x, y)]
    for i in range(2 + int(u[4] * (_SEGMENTS - 1))):
        angle = turn + (-1) ** i * math.pi * (0.4 + 0.4 * u[5 + 2 * i])
        length = side * (0.08 + 0.17 * u[6 + 2 * i])
        x = min(max(x + length * math.cos(angle), 0.0), width - 1.0)
        y = min(max(y + length * math.sin(angle), 0.0), height - 1.0)
        points.append((x, y))
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    pen.line(points, fill=1, width=brush)
    for x, y in points:
        pen.circle((x, y), brush / 2, fill=1)
    return torch.from_numpy(np.array(canvas)).bool()


MASKS: Registry[Shape] = Registry("mask", {"boxes": _box, "free_form": _stroke})
