"""Random masks of what is missing: boxes, or free-form strokes after Yu et al. 2019 (Free-Form Image Inpainting, algorithm 1).

All masks of a batch are drawn at once by operations on whole tensors, on the device of their keys: a shape is a field of
distances to it, and a mask is made of a sample's first so many shapes, as many as its share of the area needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.layers.keyed_noise import keyed_uniform
from trainables.registry import Registry

_SEGMENTS = 6  # of a stroke, at most
_NUMBERS = 5 + 2 * _SEGMENTS  # random ones that a shape takes, at most
_AREA = 0.05  # of a shape, about, relative to the picture's
_VALUES_AT_ONCE = 2**22  # of distances: 16 MB, which a cache may hold

Shape = Callable[[int, int, Tensor], Tensor]
"""(height, width, uniform numbers [N, at most _NUMBERS]) → distances in pixels to a random shape each, [N, H, W]; <= 0 inside."""


def random_masks(kind: str, share: float, height: int, width: int, keys: Tensor) -> Tensor:
    """bool [N, height, width], True where missing: for each key as many shapes of this ``kind`` as cover ``share`` of the area.

    Shapes number 1, 2, … of a key are added until at least ``share`` is missing. Where the unlucky ones of twice as many as that
    takes on average do not suffice, all of them are broadened alike until they do: so there is always a bounded number of shapes.
    """
    shapes = 2 + math.ceil(2 * math.log(1 / (1 - share)) / _AREA)
    order = torch.full((len(keys), height, width), math.inf, device=keys.device)
    numbers = keyed_uniform(keys, 0, shapes * _NUMBERS).float().view(len(keys), shapes, _NUMBERS)
    at_once = max(1, _VALUES_AT_ONCE // max(1, order.numel()))
    for first in range(0, shapes, at_once):
        some = numbers[:, first : first + at_once]
        distance = MASKS[kind](height, width, some.flatten(0, 1)).view(*some.shape[:2], height, width)
        index = torch.arange(first, first + some.shape[1], device=keys.device).view(-1, 1, 1)
        # The number of the first shape that covers a pixel; beyond all numbers, the distance to the nearest one.
        order = torch.minimum(order, torch.where(distance <= 0, index, shapes + distance).amin(dim=1))
    last = order.flatten(1).kthvalue(math.ceil(share * height * width)).values
    return order <= last.view(-1, 1, 1)


def _box(height: int, width: int, u: Tensor) -> Tensor:
    """A rectangle whose sides are between an eighth and a third of the picture's."""
    return torch.maximum(_beside(height, u[:, 0], u[:, 2])[:, :, None], _beside(width, u[:, 1], u[:, 3])[:, None])


def _beside(side: int, size: Tensor, place: Tensor) -> Tensor:
    """Distances to a random interval of whole pixels, [N, side]."""
    length = (side * (1 / 8 + size * (1 / 3 - 1 / 8))).round().clamp_min(1)
    first = (place * (side - length + 1)).floor()
    at = torch.arange(side, device=size.device)
    return torch.maximum(first[:, None] - at, at - (first + length - 1)[:, None])


def _stroke(height: int, width: int, u: Tensor) -> Tensor:
    """A brush stroke: a walk of 2 to 6 segments whose turns alternate in sense, with round joints and ends."""
    side, turn = min(height, width), 2 * math.pi * u[:, 0]
    x, y, radius = u[:, 1] * (width - 1), u[:, 2] * (height - 1), (side * (0.06 + 0.08 * u[:, 3])).round().clamp_min(1) / 2
    count = 2 + (u[:, 4] * (_SEGMENTS - 1)).floor()
    rows, columns = torch.arange(height, device=u.device), torch.arange(width, device=u.device)
    nearest = torch.full((len(u), height, width), math.inf, device=u.device)
    for i in range(_SEGMENTS):
        angle = turn + (-1) ** i * math.pi * (0.4 + 0.4 * u[:, 5 + 2 * i])
        length = torch.where(i < count, side * (0.08 + 0.17 * u[:, 6 + 2 * i]), 0.0)  # beyond the last one the walk stands still
        x_next = (x + length * angle.cos()).clamp(0, width - 1)
        y_next = (y + length * angle.sin()).clamp(0, height - 1)
        nearest = torch.minimum(nearest, _squares(columns - x[:, None], rows - y[:, None], x_next - x, y_next - y))
        x, y = x_next, y_next
    return nearest.sqrt() - radius.view(-1, 1, 1)


def _squares(across: Tensor, down: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Squared distances [N, H, W] to the segment from (0, 0) to (dx, dy), of places ``across`` [N, W] and ``down`` [N, H]."""
    dx, dy, length = dx.view(-1, 1, 1), dy.view(-1, 1, 1), (dx**2 + dy**2).view(-1, 1, 1)
    across, down = across[:, None], down[:, :, None]
    along = across * dx + down * dy
    t = (along / length.clamp_min(1e-12)).clamp(0, 1)
    return (across**2 + down**2 + t * (t * length - 2 * along)).clamp_min(0)


MASKS: Registry[Shape] = Registry("mask", {"boxes": _box, "free_form": _stroke})
