"""Operations whose gradients CUDA adds up in any order, and ways to compute them that have one, for `speed.kernels: exact`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def exact_on_gpu(x: Tensor) -> bool:
    """Whether torch is told to take none but deterministic kernels, and ``x`` is where not every operation has one."""
    return torch.are_deterministic_algorithms_enabled() and x.device.type != "cpu"


def adaptive_avg_pool2d(x: Tensor, size: tuple[int, int]) -> Tensor:
    """As torch's: [N, C, h, w] → [N, C, *size], the mean over what of the map each pixel covers."""
    return averaged_by_matrices(x, size) if exact_on_gpu(x) else F.adaptive_avg_pool2d(x, size)


def averaged_by_matrices(x: Tensor, size: tuple[int, int]) -> Tensor:
    """`adaptive_avg_pool2d`, one dimension after the other, as matrix products."""
    wide = torch.promote_types(x.dtype, torch.float32)  # a third is not a number of bfloat16
    rows, columns = (
        F.adaptive_avg_pool2d(torch.eye(before, dtype=wide, device=x.device)[None], (after, before))[0]
        for before, after in zip(x.shape[-2:], size, strict=True)
    )
    with torch.autocast(x.device.type, enabled=False):
        return (rows @ x.to(wide) @ columns.T).to(x.dtype)


def grid_sample(x: Tensor, grid: Tensor) -> Tensor:
    """[N, C, h, w] at places [N, H, W, 2] between -1 and 1, those of the corner pixels' middles, bilinear: [N, C, H, W].

    Beyond the border it is the border's pixel. The gradient in ``grid`` is not for use.
    """
    if exact_on_gpu(x):
        return sampled_by_index(x, grid)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


def sampled_by_index(x: Tensor, grid: Tensor) -> Tensor:
    """`grid_sample`, as a weighted sum of four pixels each."""
    height, width = x.shape[-2:]
    right = ((grid[..., 0] + 1) / 2 * (width - 1)).clamp(0, width - 1)
    down = ((grid[..., 1] + 1) / 2 * (height - 1)).clamp(0, height - 1)
    left, top = right.floor().clamp_max(max(width - 2, 0)), down.floor().clamp_max(max(height - 2, 0))
    a, b = (right - left)[..., None], (down - top)[..., None]
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    pixels = x.permute(0, 2, 3, 1)
    rows, columns = top.long(), left.long()
    below, beside = (rows + 1).clamp_max(height - 1), (columns + 1).clamp_max(width - 1)
    upper = pixels[samples, rows, columns] * (1 - a) + pixels[samples, rows, beside] * a
    lower = pixels[samples, below, columns] * (1 - a) + pixels[samples, below, beside] * a
    return (upper * (1 - b) + lower * b).permute(0, 3, 1, 2)
