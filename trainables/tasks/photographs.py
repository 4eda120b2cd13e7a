"""What photographs have been through: blur, resampling, noise and JPEG, each of random strength, in this or in a random order.

The first order of Real-ESRGAN's degradations (Wang et al. 2021, section 3.1); the random order is BSRGAN's (Zhang et al. 2021).
Every picture's own numbers follow from its key, and all pictures of a batch are spoilt at once, whatever their strengths: a
resampling is a matrix for rows and one for columns, a blur a kernel for each picture. Sinc filters and the second order are left
out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.layers.keyed_noise import keyed_normal, keyed_uniform
from trainables.tasks.jpeg import jpeg
from trainables.tasks.photons import photon_counts
from trainables.tasks.ranges import as_file

BLUR = (0.2, 2.0)
"""Standard deviations of the blur along its two axes, in pixels."""
RESAMPLED = (0.5, 1.0)
"""Share of the sides to which a picture is shrunk before it is enlarged again, bilinearly or bicubically."""
SIGMA = (1 / 255, 25 / 255)
"""Standard deviation of normal noise where white is 1, of half of the pictures; in two fifths it is the same in all channels."""
PHOTONS = (100.0, 2000.0)
"""Photons of a white pixel, of the other half, uniform in their logarithm."""
QUALITY = (30.0, 95.0)
"""Of the JPEG encoder."""

_TAPS = 13  # of the blur's kernel
_STRENGTHS, _NOISE, _ORDER = 16, 17, 18  # purposes of a picture's random numbers
_NUMBERS = 9


def spoilt(pictures: Tensor, keys: Tensor, shuffled: bool) -> Tensor:
    """Pictures [N, 3, H, W] in [-1, 1] as they might come from the web, on the 256 levels of a file.

    Args:
        keys: int64 [N], one for each picture.
        shuffled: whether the four happen in a random order; else JPEG comes last, as it mostly does.
    """
    strengths = keyed_uniform(keys, _STRENGTHS, _NUMBERS).float()
    if not shuffled:
        for step in _STEPS:
            pictures = step(pictures, strengths, keys)
        return as_file(pictures)
    order = keyed_uniform(keys, _ORDER, len(_STEPS)).argsort(dim=1)
    for place in range(len(_STEPS)):
        each = torch.stack([step(pictures, strengths, keys) for step in _STEPS])
        pictures = each.gather(0, order[:, place].view(1, -1, 1, 1, 1).expand(1, *pictures.shape))[0]
    return as_file(pictures)


def _between(ends: tuple[float, float], u: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * u


def _blurred(pictures: Tensor, u: Tensor, keys: Tensor) -> Tensor:
    """By an elliptic Gaussian of any direction."""
    n, channels, height, width = pictures.shape
    first, second, angle = _between(BLUR, u[:, 0]), _between(BLUR, u[:, 1]), math.pi * u[:, 2]
    at = torch.arange(_TAPS, device=pictures.device) - _TAPS // 2
    x, y = at.view(1, 1, -1), at.view(1, -1, 1)
    cosine, sine = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    along, across = (cosine * x + sine * y) / first.view(-1, 1, 1), (cosine * y - sine * x) / second.view(-1, 1, 1)
    kernels = torch.exp(-(along**2 + across**2) / 2)
    kernels = (kernels / kernels.sum(dim=(1, 2), keepdim=True)).repeat_interleave(channels, dim=0)[:, None]
    padded = F.pad(pictures, (_TAPS // 2,) * 4, mode="replicate").reshape(1, n * channels, height + _TAPS - 1, -1)
    return F.conv2d(padded, kernels, groups=n * channels).view(n, channels, height, width)


def _resampled(pictures: Tensor, u: Tensor, keys: Tensor) -> Tensor:
    share, cubic = _between(RESAMPLED, u[:, 3]), u[:, 4] < 0.5
    rows, columns = (_there_and_back(side, share, cubic)[:, None] for side in pictures.shape[-2:])
    return (rows @ pictures @ columns.transpose(-1, -2)).clamp(-1, 1)


def _there_and_back(side: int, share: Tensor, cubic: Tensor) -> Tensor:
    """Shrinks lines of ``side`` pixels to a share of them, antialiased, and enlarges them again: [N, side, side]."""
    small = (side * share).round().clamp(1, side).view(-1, 1, 1)  # pixels of the shrunk line
    ratio = side / small
    fine, coarse = torch.arange(side, device=share.device).view(1, 1, -1), torch.arange(side, device=share.device).view(1, -1, 1)
    cubic = cubic.view(-1, 1, 1)
    shrink = _kernel(((coarse + 0.5) * ratio - 0.5 - fine) / ratio, cubic)
    enlarge = _kernel((fine.transpose(1, 2) + 0.5) / ratio - 0.5 - coarse.transpose(1, 2), cubic)
    enlarge = torch.where(coarse.transpose(1, 2) < small, enlarge, 0.0)  # rows beyond the shrunk line are not read
    shrink, enlarge = (x / x.sum(dim=-1, keepdim=True).clamp_min(1e-6) for x in (shrink, enlarge))
    return enlarge @ shrink


def _kernel(x: Tensor, cubic: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -1/2, or the triangle."""
    x = x.abs()
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    keys = torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))
    return torch.where(cubic, keys, (1 - x).clamp_min(0))


def _noisy(pictures: Tensor, u: Tensor, keys: Tensor) -> Tensor:
    sigma = _between(SIGMA, u[:, 5]).view(-1, 1, 1, 1)
    noise = keyed_normal(keys, _NOISE, pictures[0].numel()).view(pictures.shape)
    grey = (u[:, 6] < 0.4).view(-1, 1, 1, 1)
    normal = pictures + 2 * sigma * torch.where(grey, noise[:, :1], noise)
    photons = torch.exp(_between((math.log(PHOTONS[0]), math.log(PHOTONS[1])), u[:, 5]))
    counted = photon_counts(pictures, photons, keys, _NOISE) / photons.view(-1, 1, 1, 1) * 2 - 1
    return torch.where((u[:, 7] < 0.5).view(-1, 1, 1, 1), normal, counted).clamp(-1, 1)


def _compressed(pictures: Tensor, u: Tensor, keys: Tensor) -> Tensor:
    return jpeg(pictures, _between(QUALITY, u[:, 8]).round())


_STEPS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (_blurred, _resampled, _noisy, _compressed)
"""(pictures [N, 3, H, W], uniform numbers [N, 9], keys [N]) → pictures."""
