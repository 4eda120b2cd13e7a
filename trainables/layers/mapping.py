"""The mapping network of the StyleGANs: z and class label → w (Karras et al. 2019, section 2; Karras et al. 2020, ADA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.layers.equalized import EqualizedLinear, unit_mean_square


class Mapping(nn.Module):
    """[N, z_dim] latents and [N, c_dim] labels → [N, w_dim] styles.

    Labels are embedded, normalised like the latents, and joined to them.

    Args:
        z_dim: length of the latent; 0 for a discriminator's mapping of labels alone.
        c_dim: classes; 0 for none.
        layers: fully connected ones, ``fc0`` and so on.
    """

    w_avg: Tensor
    """The mean style, [w_dim], towards which truncation pulls."""

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.layers = z_dim, c_dim, layers
        if c_dim:
            self.embed = EqualizedLinear(c_dim, w_dim)
        width = z_dim + (w_dim if c_dim else 0)
        for index in range(layers):
            self.add_module(f"fc{index}", EqualizedLinear(width, w_dim, lr_multiplier=0.01, activate=True))
            width = w_dim
        if z_dim:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Styles; with ``truncation`` ψ < 1 drawn to their mean, w̄ + ψ (w - w̄) (Karras et al. 2019, appendix B)."""
        parts = [unit_mean_square(z)] if z is not None and self.z_dim else []
        if self.c_dim:
            assert labels is not None
            parts.append(unit_mean_square(self.embed(labels.to(self.embed.weight.dtype))))
        w = torch.cat(parts, dim=1)
        for index in range(self.layers):
            w = self.get_submodule(f"fc{index}")(w)
        return w if truncation == 1 else torch.lerp(self.w_avg.to(w.dtype), w, truncation)
