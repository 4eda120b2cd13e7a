"""The pictures of a sweep in memory-mapped form, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainables.data.native import NativeDataset
from trainables.data.options import BadFiles, DataOptions
from trainables.data.packing import load_packed


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N pictures of side R, shared between processes through the page cache; treat ``images`` as read-only.

    With ``mirror`` the data set counts 2N: index ``i >= N`` is picture ``i - N`` mirrored left-right.
    """

    images: Tensor
    """uint8 [N, 3, R, R], RGB, as on disk: never mirrored."""
    names: tuple[str, ...]
    """N names: paths below the data path, inside an archive, or rows of a Parquet file."""
    content_hash: str
    """sha256 of the pixels, in hexadecimal: equal where training sees the same pictures in the same order (`mirror` aside)."""
    skipped: BadFiles = ()
    """(file, reason) of every picture left out under ``on_bad_image: skip``."""
    mirror: bool = False
    native = False

    @property
    def count(self) -> int:
        """N."""
        return int(self.images.shape[0])

    def __len__(self) -> int:
        """How many indices `batch` takes: N, or 2N with ``mirror``."""
        return self.images.shape[0] * (2 if self.mirror else 1)

    @property
    def resolution(self) -> int:
        """R, in pixels."""
        return int(self.images.shape[-1])

    @property
    def real_images(self) -> Tensor:
        """uint8 [N, 3, R, R]: what metrics compare with, never mirrored."""
        return self.images

    def pixels(self, indices: Tensor) -> Tensor:
        """The pictures at ``indices`` (int64 [B], on the CPU), as uint8 [B, 3, R, R].

        Raises:
            IndexError: an index is not in [0, len(self)).
        """
        if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < len(self)):
            raise IndexError(f"indices from {int(indices.min())} to {int(indices.max())} in a data set of {len(self)}")
        count = self.images.shape[0]
        pixels = self.images.index_select(0, indices % count)
        return torch.where((indices >= count)[:, None, None, None], pixels.flip(-1), pixels) if self.mirror else pixels

    def batch(self, indices: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """`pixels` as float32 in [-1, 1] on ``device``, to which the bytes travel: a quarter of what floats would be."""
        return self.pixels(indices).to(device).float().div_(127.5).sub_(1.0)


def load_dataset(options: DataOptions, cache_dir: Path) -> ImageDataset | NativeDataset:
    """The pictures that ``options`` describes, from the packed cache in ``cache_dir`` or packed there first.

    Any number of processes may call it at once: one builds and the others wait. A damaged cache is built again, with a
    ``RuntimeWarning``.

    Raises:
        DataError: the path is missing or holds no pictures, or (unless ``on_bad_image: skip``) some cannot be decoded;
            all of them are named at once.
        OSError: ``cache_dir`` cannot be written.
    """
    index, array = load_packed(options, cache_dir)
    pixels = torch.from_numpy(array)
    if index.sizes is None:
        return ImageDataset(pixels, index.names, index.content_hash, index.skipped, options.mirror)
    # The hash names what metrics compare with: crops of this side.
    content = f"{index.content_hash}-{options.resolution}px"
    return NativeDataset(pixels, index.sizes, options.resolution, index.names, content, index.skipped, options.mirror)
