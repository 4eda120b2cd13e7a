"""What JPEG loses, on any device: sub-sampled chroma and quantised cosines of 8x8 blocks (ITU-T T.81, annexes A and K; JFIF).

It follows libjpeg's defaults (the tables of annex K scaled by the quality, 4:2:0, smooth enlargement of the chroma), and its
pictures differ from Pillow's by rounding alone. kornia has this too, but differentiable, with a soft rounding that no file has,
and it is a large dependency for these lines. Nothing is encoded: the entropy coding of a file loses nothing.
"""

from __future__ import annotations

import functools
import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.tasks.ranges import as_file, to_levels

_Table: TypeAlias = tuple[tuple[float, ...], ...]

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(4 * ((99,) * 8,)),
)
# The orthonormal cosine transform of eight values.
_COSINES = tuple(
    tuple(math.sqrt((2 if k else 1) / 8) * math.cos(math.pi / 8 * k * (x + 0.5)) for x in range(8)) for k in range(8)
)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] as they come back from JPEG files, on the 256 levels of a file; any H and W.

    Args:
        quality: of the encoder, 1 to 100, whole numbers, [N].
    """
    height, width = images.shape[-2:]
    levels = F.pad(to_levels(images), (0, -width % 16, 0, -height % 16), mode="replicate")
    red, green, blue = levels.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], dim=1) + 128
    luma = _blocks_quantised(luma[:, None].round(), quality, _LUMA)
    chroma = _blocks_quantised(F.avg_pool2d(chroma.round(), 2).round(), quality, _CHROMA)
    # libjpeg's smooth enlargement knows no more than the picture's own chroma, not what pads it.
    chroma = chroma[..., : (height + 1) // 2, : (width + 1) // 2]
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear")[..., :height, :width].round() - 128
    luma, (cb, cr) = luma[:, 0, :height, :width], chroma.unbind(1)
    rgb = torch.stack([luma + 1.402 * cr, luma - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587, luma + 1.772 * cb], dim=1)
    return as_file(rgb / 127.5 - 1)


def _blocks_quantised(planes: Tensor, quality: Tensor, table: _Table) -> Tensor:
    """Planes [N, C, 8h, 8w] of levels → what decoding their quantised cosines gives, levels too."""
    n, channels, height, width = planes.shape
    quality = quality.double().view(n, 1, 1, 1, 1, 1)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)  # libjpeg's `jpeg_quality_scaling`
    steps = ((_constant(table, planes.device) * percent + 50) / 100).floor().clamp(1, 255)
    # In float64: TF32 would round coefficients before they are.
    cosines = _constant(_COSINES, planes.device)
    blocks = (planes.double() - 128).view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = (cosines @ blocks @ cosines.T / steps).round() * steps
    decoded = cosines.T @ coefficients @ cosines
    return (decoded.transpose(3, 4).reshape(planes.shape) + 128).round().clamp(0, 255).float()


@functools.cache
def _constant(table: _Table, device: torch.device) -> Tensor:
    """A table as float64 [8, 8], copied to a device once."""
    return torch.tensor(table, device=device, dtype=torch.float64)
