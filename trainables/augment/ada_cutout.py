"""ADA's cutout (Karras et al. 2020, appendix B)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.augment.policy import Draws, Policy, Probability, by_sample

_SIZE = 0.5  # of the side


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Sets a square of half the side, centred anywhere in the picture, to 0 with probability p."""
    draws = Draws(u, p)
    hidden = _hidden(x.shape[-1], draws)[:, None, :] & _hidden(x.shape[-2], draws)[:, :, None]
    happens = draws.given(torch.ones_like(u[:, 0]), 0)
    return draws.result(x * ~(hidden[:, None] & (by_sample(happens) > 0)), x)


def _hidden(side: int, draws: Draws) -> Tensor:
    """Whether each place of a row or column is covered, [N, side]."""
    centre = draws.uniform(0, side)
    places = torch.arange(side, device=centre.device) + 0.5
    return (places - centre[:, None]).abs() < side * _SIZE / 2


POLICY = Policy(apply, numbers=3, geometric=True)
