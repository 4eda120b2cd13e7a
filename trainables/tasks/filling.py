"""Filling of missing pixels by the mean of the known ones around: pull-push over a pyramid (Gortler et al. 1996, section 3.4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_missing(images: Tensor, missing: Tensor) -> Tensor:
    """Pictures in which each missing pixel is the mean over the smallest block of the pyramid that holds a known one, smoothed.

    Args:
        images: [N, C, H, W]; the values of missing pixels are not read.
        missing: bool [N, 1, H, W].

    Returns:
        [N, C, H, W], bit for bit ``images`` where known; 0 everywhere where nothing is known.
    """
    height, width = images.shape[-2:]
    weight = (~missing).to(images)
    total = torch.where(missing, 0.0, images)
    if height * width == 1:
        return total
    # A missing row or column beyond an odd side weighs nothing.
    odd = (0, width % 2, 0, height % 2)
    coarse_weight = F.avg_pool2d(F.pad(weight, odd), 2)
    coarse = F.avg_pool2d(F.pad(total, odd), 2) / coarse_weight.clamp_min(0.25)
    coarse = fill_missing(coarse, coarse_weight == 0)
    fine = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")[..., :height, :width]
    return torch.where(missing, fine, images)
