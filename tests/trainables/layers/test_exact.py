"""The deterministic forms give what torch's operations give, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.layers.exact import adaptive_avg_pool2d, averaged_by_matrices, grid_sample, sampled_by_index


def agree(x: Tensor, one: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> None:
    results, gradients = [], []
    for compute in (one, other):
        leaf = x.clone().requires_grad_()
        y = compute(leaf)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
        results.append(y.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (7, 2), (9, 12), (1, 1)])
def test_pooling(size: tuple[int, int]) -> None:
    x = maps(2, 3, 9, 12)
    agree(x, lambda y: averaged_by_matrices(y, size), lambda y: F.adaptive_avg_pool2d(y, size))
    assert torch.equal(adaptive_avg_pool2d(x, size), F.adaptive_avg_pool2d(x, size)), "a CPU takes torch's own"


@pytest.mark.parametrize("side", [(6, 8), (1, 4), (2, 2)])
def test_sampling(side: tuple[int, int]) -> None:
    x = maps(2, 3, *side)
    grid = maps(2, 5, 4, 2)  # beyond the border too
    grid[0, 0, 0], grid[0, 0, 1] = 1.0, -1.0  # the very corners

    def torchs(y: Tensor) -> Tensor:
        return F.grid_sample(y, grid, mode="bilinear", padding_mode="border", align_corners=True)

    agree(x, lambda y: sampled_by_index(y, grid), torchs)
    assert torch.equal(grid_sample(x, grid), torchs(x)), "a CPU takes torch's own"
