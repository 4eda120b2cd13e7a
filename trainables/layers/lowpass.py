"""Low-pass filters for resampling by integer factors (Karras et al. 2021, StyleGAN3, section 3.2).

Windowed ideal filters: sinc, or its radially symmetric counterpart jinc, times the window of Kaiser (1974), whose shape follows
from the number of taps and the width of the transition band.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lowpass(taps: int, cutoff: float, width: float, rate: float) -> Tensor:
    """A symmetric filter of one dimension, float32 [taps], of sum 1.

    Args:
        cutoff: what passes, in cycles per unit; less than half of ``rate``.
        width: of the band in which the filter goes from passing to stopping, cycles per unit, centred on ``cutoff``.
        rate: samples per unit.
    """
    at = _positions(taps)
    ideal = torch.sinc(2 * cutoff / rate * at)
    return _of_sum_one(ideal * _window(taps, width, rate))


def radial_lowpass(taps: int, cutoff: float, width: float, rate: float) -> Tensor:
    """A filter of two dimensions that passes a disc of frequencies, so that it has no direction, [taps, taps]; see `lowpass`.

    Its ideal form is jinc, J₁(2π f r) / r, in place of sinc. ``taps`` is even: none is at r = 0.
    """
    assert taps % 2 == 0
    at = _positions(taps)
    radius = torch.hypot(at[:, None], at[None])
    ideal = torch.special.bessel_j1(2 * math.pi * cutoff / rate * radius) / radius
    window = _window(taps, width, rate)
    return _of_sum_one(ideal * torch.outer(window, window))


def _positions(taps: int) -> Tensor:
    """Of the taps, in samples from the middle."""
    return torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2


def _window(taps: int, width: float, rate: float) -> Tensor:
    return torch.kaiser_window(taps, periodic=False, beta=_kaiser_beta(taps, width, rate), dtype=torch.float64)


def _kaiser_beta(taps: int, width: float, rate: float) -> float:
    """Kaiser's formulas: the attenuation in dB that so many taps reach with this transition, and the window for it."""
    attenuation = 2.285 * (taps - 1) * math.pi * width / (rate / 2) + 7.95
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def _of_sum_one(taps: Tensor) -> Tensor:
    return (taps / taps.sum()).float()
