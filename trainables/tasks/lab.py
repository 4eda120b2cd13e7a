"""sRGB ↔ CIE L*a*b* under D65, differentiable, with finite gradients everywhere.

IEC 61966-2-1 for the transfer function and the primaries, CIE 15 for L*a*b*. The white point is what the matrix makes of RGB
white, so that greys have a* = b* = 0 to rounding; the published (0.95047, 1, 1.08883) is that to five digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

_XYZ_OF_RGB = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE_RELATIVE = [[value / sum(row) for value in row] for row in _XYZ_OF_RGB]
_INVERSE: list[list[float]] = torch.linalg.inv(torch.tensor(_WHITE_RELATIVE, dtype=torch.float64)).tolist()
_KNEE = 0.04045  # of the sRGB curve
_DELTA = 6 / 29  # of f in CIE 15


def lab_from_srgb(rgb: Tensor) -> Tensor:
    """sRGB [N, 3, H, W] in [0, 1] → [N, 3, H, W]: L* in [0, 100], a* in about [-86, 98], b* in about [-108, 94]."""
    # Both branches of a `where` are differentiated, so the power never sees its branch's infinite slope at 0.
    linear = torch.where(rgb <= _KNEE, rgb / 12.92, ((rgb.clamp_min(_KNEE) + 0.055) / 1.055) ** 2.4)
    f = _f(_apply(_WHITE_RELATIVE, linear))
    fx, fy, fz = f.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def srgb_from_lab(lab: Tensor) -> Tensor:
    """L*a*b* [N, 3, H, W] → sRGB [N, 3, H, W], outside [0, 1] where the colour is outside sRGB's gamut."""
    lightness, a, b = lab.unbind(1)
    fy = (lightness + 16) / 116
    white_relative = _f_inverse(torch.stack([fy + a / 500, fy, fy - b / 200], dim=1))
    linear = _apply(_INVERSE, white_relative)
    knee = _KNEE / 12.92
    return torch.where(linear <= knee, linear * 12.92, 1.055 * linear.clamp_min(knee) ** (1 / 2.4) - 0.055)


def _f(t: Tensor) -> Tensor:
    cube = _DELTA**3
    return torch.where(t > cube, t.clamp_min(cube) ** (1 / 3), t / (3 * _DELTA**2) + 4 / 29)


def _f_inverse(f: Tensor) -> Tensor:
    return torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29))


def _apply(matrix: list[list[float]], x: Tensor) -> Tensor:
    # Sums of products, not a matrix product: TF32 and bfloat16 autocast would round colours visibly. And by numbers, not by a
    # tensor, which would be copied to the device in every step.
    first, second, third = x.unbind(1)
    return torch.stack([a * first + b * second + c * third for a, b, c in matrix], dim=1)
