"""ADA's pixel blitting (Karras et al. 2020, appendix B): flips, quarter turns and whole shifts, which move pixels as they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.augment.mirror import mirrored
from trainables.augment.policy import Draws, Policy, Probability

_REACH = 0.125  # of the side, either way


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Mirrors half of the images, turns by 0, 90, 180 or 270 degrees, shifts by up to an eighth; each with probability p."""
    draws = Draws(u, p)
    flip = draws.given(draws.uniform(0, 2).floor(), 0)
    turns = draws.given(draws.uniform(0, 4).floor(), 0)
    height, width = x.shape[-2:]
    shift_x, shift_y = draws.uniform(-_REACH, _REACH) * width, draws.uniform(-_REACH, _REACH) * height
    apart = draws.given(torch.ones_like(shift_x), 0)
    return draws.result(moved(x, flip.long(), turns.long(), (shift_x * apart).round(), (shift_y * apart).round()), x)


def moved(x: Tensor, flip: Tensor, turns: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """[N, C, H, W] mirrored left to right where ``flip`` is 1, turned a quarter ``turns`` times to the left, shifted; all [N]."""
    height, width = x.shape[-2:]
    # Where each pixel comes from, relative to the centre: the shift is undone first, then the turn, then the flip.
    down = torch.arange(height, device=x.device, dtype=shift_y.dtype) - (height - 1) / 2 - shift_y[:, None]
    right = torch.arange(width, device=x.device, dtype=shift_x.dtype) - (width - 1) / 2 - shift_x[:, None]
    down, right = down[:, :, None], right[:, None, :]
    angle = turns[:, None, None] * (math.pi / 2)
    cosine, sine = angle.cos().round(), angle.sin().round()
    from_right = (right * cosine - down * sine) * (1 - 2 * flip)[:, None, None]
    from_down = right * sine + down * cosine
    rows = mirrored((from_down + (height - 1) / 2).floor().long(), height)
    columns = mirrored((from_right + (width - 1) / 2).floor().long(), width)
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)


POLICY = Policy(apply, numbers=7, geometric=True)
