"""ADA's general geometric transformations (Karras et al. 2020, appendix B): scale, turn, stretch, turn, shift, at one go.

As there, a picture is doubled and, after bilinear sampling, halved by the wavelet sym6, against aliasing; one that stays in its
place comes back as it was, up to rounding. What lies beyond the edges is the mirror image, without end.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.augment.mirror import extended, mirrored_position
from trainables.augment.policy import Draws, Policy, Probability
from trainables.augment.wavelets import SYM6
from trainables.layers.coordinates import applied, product
from trainables.layers.exact import grid_sample

_DELAY = sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)  # by how many of its samples the filter moves what is smooth
_MARGIN = 6  # pixels that the filters need around the picture
_KEPT = 2.5  # of which so many may be sampled beyond the edges, as they are; further out positions are mirrored


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Scales by 2^N(0, 0.2²), turns, stretches by as much, turns again, shifts by N(0, 0.125²) sides; each with probability p."""
    draws = Draws(u, p)
    turning = 1 - (1 - p) ** 0.5  # so that at least one of the two turns happens with probability p
    scale = draws.given(torch.exp2(0.2 * draws.normal()), 1)
    first = draws.given(draws.uniform(-math.pi, math.pi), 0, turning)
    stretch = draws.given(torch.exp2(0.2 * draws.normal()), 1)
    second = draws.given(draws.uniform(-math.pi, math.pi), 0, turning)
    height, width = x.shape[-2:]
    shift_x, shift_y = 0.125 * width * draws.normal(), 0.125 * height * draws.normal()
    apart = draws.given(torch.ones_like(shift_x), 0)
    unscaled = torch.diag_embed(torch.stack([1 / scale, 1 / scale], dim=1))
    unstretched = torch.diag_embed(torch.stack([1 / stretch, stretch], dim=1))
    inverse = product(product(product(unscaled, rotation(-first)), unstretched), rotation(-second))
    return draws.result(transformed(x, inverse, torch.stack([shift_x * apart, shift_y * apart], dim=1)), x)


def rotation(angle: Tensor) -> Tensor:
    """[N] radians, to the right as pictures are seen → [N, 2, 2] on (x to the right, y down)."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)


def transformed(x: Tensor, inverse: Tensor, shift: Tensor) -> Tensor:
    """[N, C, H, W] about its centre by the matrices of which these are the inverses, then moved; both on (x, y).

    Args:
        inverse: [N, 2, 2].
        shift: [N, 2], in pixels.
    """
    height, width = x.shape[-2:]
    doubled = _doubled(extended(x, _MARGIN))
    places = [
        (torch.arange(2 * side + len(SYM6) - 2, dtype=inverse.dtype, device=x.device) - _DELAY + 1) / 2 - side / 2
        for side in (width, height)
    ]
    right, down = torch.meshgrid(*places, indexing="xy")
    wanted = torch.stack([right, down], dim=-1)  # the samples that halving takes, in pixels from the centre
    found = applied(inverse[:, None, None], wanted - shift[:, None, None])
    grid = torch.stack([_normalised(found[..., axis], side) for axis, side in ((0, width), (1, height))], dim=-1)
    return _halved(grid_sample(doubled, grid.to(x.dtype)))


def _normalised(position: Tensor, side: int) -> Tensor:
    """Positions in pixels relative to the centre → places among the samples of `_doubled`, the first at -1 and the last at 1."""
    inside = torch.where(position.abs() < side / 2 + _KEPT, position + side / 2, mirrored_position(position + side / 2, side))
    place = 2 * (inside + _MARGIN) - 1 + _DELAY
    return place / ((2 * (side + 2 * _MARGIN) + len(SYM6) - 3) / 2) - 1


def _doubled(x: Tensor) -> Tensor:
    """[N, C, H, W] → [N, C, 2 H + 10, 2 W + 10], with all that the filter leaves beyond the edges."""
    taps = _taps(x.dtype, x.device) * math.sqrt(2)
    y = x.flatten(0, 1)[:, None]
    y = F.conv_transpose2d(y, taps.view(1, 1, 1, -1), stride=(1, 2))
    y = F.conv_transpose2d(y, taps.view(1, 1, -1, 1), stride=(2, 1))
    return y.view(*x.shape[:2], *y.shape[-2:])


def _halved(x: Tensor) -> Tensor:
    """[N, C, 2 H + 10, 2 W + 10] → [N, C, H, W]."""
    taps = _taps(x.dtype, x.device) / math.sqrt(2)
    y = x.flatten(0, 1)[:, None]
    y = F.conv2d(y, taps.view(1, 1, 1, -1), stride=(1, 2))
    y = F.conv2d(y, taps.view(1, 1, -1, 1), stride=(2, 1))
    return y.view(*x.shape[:2], *y.shape[-2:])


@functools.cache
def _taps(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Copied to a device once: a copy would hold up every step."""
    return torch.tensor(SYM6, dtype=dtype, device=device)


POLICY = Policy(apply, numbers=11, geometric=True)
