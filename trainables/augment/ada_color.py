"""ADA's colour transformations (Karras et al. 2020, appendix B): one affine map of RGB for each sample.

Brightness, contrast, luma flip, hue rotation and saturation are 4x4 matrices, applied in this order; their product has a closed
form. With ``grey`` the part of a colour along (1, 1, 1), its mean, and ``rest`` what is left, which hue turns about that axis:

    c · ((1 - 2 flip) · (grey + b) + s · (cos θ · rest + sin θ · axis x rest))
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.augment.policy import Draws, Policy, Probability, by_sample


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Brightness N(0, 0.2²), contrast 2^N(0, 0.5²), inverted luma, any hue, saturation 2^N(0, 1); each with probability p."""
    draws = Draws(u, p)
    brightness = draws.given(0.2 * draws.normal(), 0)
    contrast = draws.given(torch.exp2(0.5 * draws.normal()), 1)
    flip = draws.given(draws.uniform(0, 2).floor(), 0)
    hue = draws.given(draws.uniform(-math.pi, math.pi), 0)
    saturation = draws.given(torch.exp2(draws.normal()), 1)
    return draws.result(recoloured(x, brightness, contrast, flip, hue, saturation), x)


def recoloured(x: Tensor, brightness: Tensor, contrast: Tensor, flip: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """[N, 3, H, W], or grey [N, 1, H, W], with the strengths [N] of the formula above; hue in radians."""
    b, c, i, angle, s = (by_sample(strength.to(x.dtype)) for strength in (brightness, contrast, flip, hue, saturation))
    grey = x.mean(dim=1, keepdim=True)
    rest = x - grey
    turned = (rest.roll(1, dims=1) - rest.roll(-1, dims=1)) / math.sqrt(3)  # (1, 1, 1) / √3 x rest
    return c * ((1 - 2 * i) * (grey + b) + s * (angle.cos() * rest + angle.sin() * turned))


POLICY = Policy(apply, numbers=10, geometric=False)
