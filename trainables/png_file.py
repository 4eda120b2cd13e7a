"""PNG files written row by row, so that a large picture is never in memory as a whole (W3C, PNG specification, 2nd edition)."""

from __future__ import annotations

import contextlib
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_ROWS = 64  # filtered at once
_PAETH = 4  # the filter's number


@contextlib.contextmanager
def png_file(path: Path, width: int, height: int) -> Iterator[Callable[[Tensor], None]]:
    """Gives what writes uint8 [3, rows, width], from top to bottom; the file is there, whole, once the block has ended well.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            packer, above, written = zlib.compressobj(), np.zeros((1, 3 * width), np.uint8), 0

            def write(rows: Tensor) -> None:
                nonlocal above, written
                levels = rows.permute(1, 2, 0).reshape(rows.shape[1], -1).numpy()
                for start in range(0, len(levels), _ROWS):
                    some = levels[start : start + _ROWS]
                    if data := packer.compress(_filtered(np.concatenate([above, some]))):
                        _chunk(file, b"IDAT", data)
                    above, written = some[-1:].copy(), written + len(some)

            yield write
            if written != height:
                raise AssertionError(f"{written} rows were written of {height}")
            _chunk(file, b"IDAT", packer.flush())
            _chunk(file, b"IEND", b"")
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _filtered(rows: NDArray[np.uint8]) -> bytes:
    """Rows [1 + R, 3 W], the first the one above the rest, less what Paeth's filter predicts, each after the filter's number."""
    own, above = rows[1:].astype(np.int16), rows[:-1].astype(np.int16)
    left, corner = (np.pad(x[:, :-3], ((0, 0), (3, 0))) for x in (own, above))
    by_left, by_above, by_corner = np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)
    nearest = np.where(by_above <= by_corner, above, corner)
    nearest = np.where((by_left <= by_above) & (by_left <= by_corner), left, nearest)
    return np.pad((own - nearest).astype(np.uint8), ((0, 0), (1, 0)), constant_values=_PAETH).tobytes()


def _chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
