"""Near-duplicate pictures: the same picture resized, recompressed or saved twice.

Pictures are compared as thumbnails by root-mean-square difference. Because two thumbnails' means differ by no more than that
(Jensen), a picture is only compared with those of nearly equal mean, and none is missed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
TOLERANCE = 4.0
"""Largest root-mean-square difference of near-duplicates' thumbnails, in levels of 255.

On flat graphics, the hard case: an emoji saved as JPEG of quality 80 is 3.6 from itself, two different faces 5.7 or more."""


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [3, H, W] → the mean colours of a 16 × 16 grid, float32 [768] in [0, 255]."""
    small = Image.fromarray(pixels.transpose(1, 2, 0)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel()


def near_duplicates(thumbnails: NDArray[np.float32], tolerance: float = TOLERANCE) -> list[list[int]]:
    """Groups of two or more rows of ``thumbnails`` (float32 [N, D]) linked by pairs closer than ``tolerance``, in row order."""
    means = thumbnails.mean(axis=1)
    order = np.argsort(means, kind="stable")
    x = thumbnails[order]
    ends = np.searchsorted(means[order], means[order] + tolerance, side="right")
    group = list(range(len(x)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, end in enumerate(ends):
        difference = x[i + 1 : end] - x[i]
        close = np.einsum("nd,nd->n", difference, difference) <= tolerance**2 * x.shape[1]
        for j in np.flatnonzero(close):
            group[root(i + 1 + int(j))] = root(i)

    members: dict[int, list[int]] = {}
    for i in range(len(x)):
        members.setdefault(root(i), []).append(int(order[i]))
    return sorted(sorted(rows) for rows in members.values() if len(rows) > 1)
