"""Products of small matrices of coordinates, as sums in their own dtype.

A GPU multiplies matrices of float32 as TF32 where `speed.kernels` is fast: eleven bits, by which places in a picture of 512 px
would be wrong by a tenth of a pixel.
"""

from __future__ import annotations

from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """[..., n, k] by [..., k, m] → [..., n, m], for a small k."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(dim=-2)


def applied(matrix: Tensor, vectors: Tensor) -> Tensor:
    """[..., n, k] on [..., k] → [..., n], for a small k."""
    return (matrix * vectors[..., None, :]).sum(dim=-1)
