"""StyleGAN3's filters against SciPy's design, and what radial ones are for."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.signal import firwin
from torch import Tensor

from trainables.layers.lowpass import lowpass, radial_lowpass

DESIGNS = [(12, 2.0, 12.0, 32.0), (24, 2.8, 10.4, 64.0), (12, 16.0, 7.4, 64.0), (12, 5.0, 1.0, 64.0), (48, 2.0, 0.5, 64.0)]


@pytest.mark.parametrize(("taps", "cutoff", "width", "rate"), DESIGNS)
def test_a_filter_is_scipys(taps: int, cutoff: float, width: float, rate: float) -> None:
    """By windows of each of Kaiser's three formulas."""
    wanted = torch.from_numpy(firwin(taps, cutoff, width=width, fs=rate))
    assert torch.allclose(lowpass(taps, cutoff, width, rate).double(), wanted, rtol=0, atol=1e-7)


def response(kernel: Tensor, frequency: float, angle: float) -> float:
    """To a plane wave of so many cycles per sample."""
    at = torch.arange(len(kernel), dtype=torch.float64) - (len(kernel) - 1) / 2
    along = math.cos(angle) * at[None] + math.sin(angle) * at[:, None]
    return float((kernel.double() * (2 * math.pi * frequency * along).cos()).sum())


def spread(kernel: Tensor, frequency: float) -> float:
    responses = [response(kernel, frequency, step * math.pi / 16) for step in range(9)]
    return max(responses) - min(responses)


@pytest.mark.parametrize("frequency", [0.1, 0.12, 0.15, 0.2])
def test_a_radial_filter_has_no_direction(frequency: float) -> None:
    design = (24, 0.12, 0.1, 1.0)
    taps, radial = lowpass(*design), radial_lowpass(*design)
    assert spread(torch.outer(taps, taps), frequency) > 0.02
    assert spread(radial, frequency) < 0.1 * spread(torch.outer(taps, taps), frequency)


def test_a_radial_filter_passes_what_is_low_and_stops_what_is_high() -> None:
    radial = radial_lowpass(24, 0.12, 0.1, 1.0)
    assert response(radial, 0, 0) == pytest.approx(1, abs=1e-6)
    assert response(radial, 0.04, 1) == pytest.approx(1, abs=0.01)
    assert response(radial, 0.25, 1) == pytest.approx(0, abs=0.01)
    assert torch.equal(radial, radial.T)
    assert torch.equal(radial, radial.flip(0, 1))
