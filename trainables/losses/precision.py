"""Losses are computed in float32 at least, whatever autocast made of the networks' outputs."""

from __future__ import annotations

import torch
from torch import Tensor


def in_float32(x: Tensor) -> Tensor:
    """``x`` as float32; float64 stays as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
