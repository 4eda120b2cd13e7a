"""Pictures for people: grids, enlarged pixels, PNG."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

_GAP = 2  # white pixels around every picture of a grid


def grid(images: Tensor, columns: int | None = None, scale: int = 1) -> Tensor:
    """[N, 3, H, W] images in [-1, 1] → one uint8 [3, H', W'] picture, about as wide as high; ``scale`` enlarges the pixels.

    Not `torchvision.utils.make_grid`, whose import takes every process of a sweep three seconds.
    """
    columns = min(len(images), columns or _columns(len(images)))
    pictures = enlarged(images.detach().cpu().float().clamp(-1, 1), scale)
    framed = pad(pictures, (_GAP, 0, _GAP, 0), value=1)
    rows = [torch.cat(list(row), dim=-1) for row in framed.split(columns)]
    rows[-1] = pad(rows[-1], (0, rows[0].shape[-1] - rows[-1].shape[-1]), value=1)
    return ((pad(torch.cat(rows, dim=-2), (0, _GAP, 0, _GAP), value=1) + 1) * 127.5).round().byte()


def grid_size(count: int, side: int) -> tuple[int, int]:
    """Width and height of `grid`'s picture of so many pictures whose enlarged side is ``side``."""
    columns = _columns(count)
    return columns * (side + _GAP) + _GAP, -(-count // columns) * (side + _GAP) + _GAP


def _columns(count: int) -> int:
    return max(1, round(count**0.5))


def enlarged(pictures: Tensor, scale: int) -> Tensor:
    """[..., H, W] → [..., scale·H, scale·W]: each pixel a square, as people see small pictures best."""
    return pictures.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def from_png(data: bytes) -> Tensor:
    """The picture of a PNG file, uint8 [3, H, W]."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


def png(picture: Tensor) -> bytes:
    """A uint8 [3, H, W] picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, format="PNG")
    return buffer.getvalue()
