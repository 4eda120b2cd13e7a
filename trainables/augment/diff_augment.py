"""The policies of DiffAugment (Zhao et al. 2020): colour, translation, cutout. And flips, which ADA's pipeline begins with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.augment.policy import Policy, as_a_whole


@as_a_whole
def _color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness ±0.5, saturation ×[0, 2), contrast ×[0.5, 1.5), each drawn per sample."""
    brightness, saturation, contrast = (u[:, i].view(-1, 1, 1, 1) for i in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (saturation * 2) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


@as_a_whole
def _translation(x: Tensor, u: Tensor) -> Tensor:
    """Shifts by up to an eighth of the side; what comes in from outside is 0."""
    n, _, height, width = x.shape
    reach_y, reach_x = round(height / 8), round(width / 8)
    dy = (u[:, 0] * (2 * reach_y + 1)).long() - reach_y
    dx = (u[:, 1] * (2 * reach_x + 1)).long() - reach_x
    rows = (torch.arange(height, device=x.device) + dy[:, None] + 1).clamp(0, height + 1)
    columns = (torch.arange(width, device=x.device) + dx[:, None] + 1).clamp(0, width + 1)
    padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    samples = torch.arange(n, device=x.device)[:, None, None]
    return padded[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@as_a_whole
def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """Sets a square of half the side, anywhere including over the border, to 0."""
    height, width = x.shape[-2:]
    cy, cx = (u[:, 0] * (height + 1)).long(), (u[:, 1] * (width + 1)).long()
    hidden_y = _within_quarter(torch.arange(height, device=x.device) - cy[:, None], height)
    hidden_x = _within_quarter(torch.arange(width, device=x.device) - cx[:, None], width)
    return x * ~(hidden_y[:, None, :, None] & hidden_x[:, None, None, :])


def _within_quarter(offset: Tensor, side: int) -> Tensor:
    return (offset * 4 >= -side) & (offset * 4 < side)


@as_a_whole
def _flip(x: Tensor, u: Tensor) -> Tensor:
    """Mirrors half of the images, left to right: G will make mirrored ones too, which is not for digits or text."""
    return torch.where(u[:, 0].view(-1, 1, 1, 1) < 0.5, x.flip(-1), x)


# Three numbers for what is done, whether it needs them or not, and one for whether it is done: the curves of all trials so far.
COLOR = Policy(_color, numbers=4, geometric=False)
TRANSLATION = Policy(_translation, numbers=4, geometric=True)
CUTOUT = Policy(_cutout, numbers=4, geometric=True)
FLIP = Policy(_flip, numbers=4, geometric=True)
