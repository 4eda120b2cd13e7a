"""The pictures of a sweep at their own sizes, memory-mapped, of which squares are cropped: nothing is resized."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.data.options import BadFiles
from trainables.layers.keyed_noise import keyed_uniform
from trainables.randomness import sample_keys


@dataclass(frozen=True, eq=False)
class NativeDataset:
    """N pictures of any size, shared between processes through the page cache; treat ``packed`` as read-only.

    With ``mirror`` the data set counts 2N, as `ImageDataset`.
    """

    packed: Tensor
    """uint8 [bytes]: the pictures one after the other, each [H, W, 3], RGB."""
    sizes: tuple[tuple[int, int], ...]
    """(H, W) of each, both at least ``resolution``."""
    resolution: int
    """R, the side of crops, in pixels."""
    names: tuple[str, ...]
    """As of `ImageDataset`."""
    content_hash: str
    """Equal where crops of the same side are taken of the same pictures in the same order."""
    skipped: BadFiles = ()
    """As of `ImageDataset`."""
    mirror: bool = False
    native = True

    @property
    def count(self) -> int:
        """N."""
        return len(self.sizes)

    def __len__(self) -> int:
        """How many indices `batch` takes: N, or 2N with ``mirror``."""
        return self.count * (2 if self.mirror else 1)

    @property
    def real_images(self) -> FixedCrops:
        """What metrics of sets compare with: the fixed crop of each picture, never mirrored."""
        return FixedCrops(self)

    def pixels(self, indices: Tensor, keys: Tensor | None = None) -> Tensor:
        """A crop of each of the pictures at ``indices`` (int64 [B], on the CPU), uint8 [B, 3, R, R].

        Args:
            keys: int64 [B], on the CPU: the place of a crop is a function of its key alone; None takes each picture's fixed crop.

        Raises:
            IndexError: an index is not in [0, len(self)).
        """
        if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < len(self)):
            raise IndexError(f"indices from {int(indices.min())} to {int(indices.max())} in a data set of {len(self)}")
        places = _places(_fixed_keys(indices % self.count) if keys is None else keys)
        crops = [self._crop(index % self.count, place) for index, place in zip(indices.tolist(), places, strict=True)]
        return torch.stack([x.flip(-1) if i >= self.count else x for i, x in zip(indices.tolist(), crops, strict=True)])

    def batch(self, indices: Tensor, device: torch.device | str = "cpu", keys: Tensor | None = None) -> Tensor:
        """`pixels` as float32 in [-1, 1] on ``device``."""
        return self.pixels(indices, keys).to(device).float().div_(127.5).sub_(1.0)

    def _crop(self, index: int, place: tuple[float, float]) -> Tensor:
        """uint8 [3, R, R]; ``place`` is in [0, 1) from top to bottom and from left to right."""
        height, width = self.sizes[index]
        start, side = int(self._starts[index]), self.resolution
        picture = self.packed[start : start + 3 * height * width].view(height, width, 3)
        top, left = (int(share * (full - side + 1)) for share, full in zip(place, (height, width), strict=True))
        return picture[top : top + side, left : left + side].permute(2, 0, 1).contiguous()

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *(3 * height * width for height, width in self.sizes)], dtype=np.int64)


class FixedCrops:
    """The fixed crops of a data set as uint8 [N, 3, R, R], of which only those that are asked for are made."""

    def __init__(self, dataset: NativeDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return self._dataset.count

    def __getitem__(self, rows: slice) -> Tensor:
        return self._dataset.pixels(torch.arange(len(self))[rows])


def _fixed_keys(indices: Tensor) -> Tensor:
    return sample_keys(indices, 0, "fixed crop")


def _places(keys: Tensor) -> list[tuple[float, float]]:
    return [(top, left) for top, left in keyed_uniform(keys, 0, 2).tolist()]
