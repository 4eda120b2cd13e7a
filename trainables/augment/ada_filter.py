"""ADA's image-space filtering (Karras et al. 2020, appendix B): four bands of frequencies, made stronger or weaker each.

The bands are octaves of the wavelet sym2. With L(z) = H(z) H(1/z) / 2 and L(-z), which add up to 1, they are, from the lowest on,
L(z⁴) L(z²) L(z), L(-z⁴) L(z²) L(z), L(-z²) L(z) and L(-z): together they are the picture.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.augment.mirror import extended
from trainables.augment.policy import Draws, Policy, Probability
from trainables.augment.wavelets import SYM2

_BANDS = 4
_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of natural pictures in each band: their spectrum falls as 1/f


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Makes each of four bands of frequencies 2^N(0, 1) times as strong with probability p, keeping the expected contrast."""
    draws, strengths = Draws(u, p), torch.ones(len(x), _BANDS, dtype=u.dtype, device=x.device)
    for band, power in enumerate(_POWER):
        strength = draws.given(torch.exp2(draws.normal()), 1)
        column = torch.where(torch.arange(_BANDS, device=x.device) == band, strength[:, None], 1)
        strengths = strengths * column / (1 + power * (strength.square() - 1)).sqrt()[:, None]
    return draws.result(filtered(x, strengths), x)


def filtered(x: Tensor, strengths: Tensor) -> Tensor:
    """[N, C, H, W] with its bands [N, 4], low to high, times ``strengths``: along the rows, then along the columns."""
    n, channels, height, width = x.shape
    bank = bands(x.dtype, x.device)[:, None, None]
    margin = bank.shape[-1] // 2
    strengths = strengths.to(x.dtype)
    y = extended(x, margin).reshape(n * channels, 1, height + 2 * margin, width + 2 * margin)
    for kernel in (bank, bank.mT):
        y = F.conv2d(y, kernel)
        y = torch.einsum("nchw,nc->nhw", y, strengths.repeat_interleave(channels, dim=0))[:, None]
    return y.view(n, channels, height, width)


@functools.cache
def bands(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The four symmetrical filters, low to high, of odd length, [4, taps]. Copied to a device once."""
    h = torch.tensor(SYM2, dtype=torch.float64)
    low = _convolved(h, h.flip(0)) / 2
    high = low * torch.tensor([(-1.0) ** (k - len(h) + 1) for k in range(len(low))], dtype=torch.float64)
    filters, rest = [], torch.ones(1, dtype=torch.float64)
    for octave in range(_BANDS - 1):
        filters.append(_convolved(_stretched(high, 2**octave), rest))
        rest = _convolved(_stretched(low, 2**octave), rest)
    filters.append(rest)
    padded = [F.pad(f, ((len(rest) - len(f)) // 2,) * 2) for f in reversed(filters)]
    return torch.stack(padded).to(device, dtype)


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _stretched(a: Tensor, step: int) -> Tensor:
    """a(z^step): zeros between the taps."""
    stretched = a.new_zeros((len(a) - 1) * step + 1)
    stretched[::step] = a
    return stretched


POLICY = Policy(apply, numbers=2 * _BANDS, geometric=False)
