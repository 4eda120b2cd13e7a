"""What all generators from noise have in common: how they are called.

``generator(z, labels=None, *, truncation=1.0, noise="const")``, with the attributes ``z_dim`` and ``c_dim``.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from torch import Tensor

Noise: TypeAlias = Literal["const", "random"]
"""Whether the noise that layers add is always the same, as for evaluation, or each sample's own, as in training."""


class StyleBased(Protocol):
    """A generator whose picture is made of a style for each of its layers, L of them."""

    def styles(self, z: Tensor, labels: Tensor | None = None, *, truncation: float = 1.0, noise: Noise = "const") -> Tensor:
        """Latents [N, z_dim] → each layer's style, [N, L, w_dim]; arguments as of the generator itself."""

    def pictures(self, styles: Tensor, keys: Tensor | None = None) -> Tensor:
        """Those → pictures; ``keys`` are the samples' (`keys_of`) for random noise, None for constant noise."""


def labels_problem(c_dim: int, labels: Tensor | None) -> None:
    """Raises ValueError unless there are labels of ``c_dim`` classes, or none where there are no classes."""
    if c_dim == 0 and labels is not None and labels.shape[1]:
        raise ValueError(f"this generator knows no classes, but got labels of {labels.shape[1]}")
    if c_dim and (labels is None or labels.shape[1] != c_dim):
        got = "none" if labels is None else f"labels of {labels.shape[1]}"
        raise ValueError(f"this generator needs labels of {c_dim} classes, [N, {c_dim}], but got {got}")


def no_truncation(generator: str, truncation: float) -> None:
    """Raises ValueError unless ``truncation`` is 1, for a generator that has no mean style to draw styles to."""
    if truncation != 1:
        raise ValueError(f"{generator} has no truncation: truncation must be 1, but got {truncation}")
