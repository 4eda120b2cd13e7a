"""The miner of MineGAN (Wang et al. 2020): a small network that moves latents to where a generator makes what is wanted."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Miner(nn.Module):
    """[N, z_dim] latents → [N, z_dim] latents; the identity at the start, so that training starts from known pictures."""

    def __init__(self, z_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(z_dim, z_dim) for _ in range(layers))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, z: Tensor) -> Tensor:
        x = z
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
        return z + self.layers[-1](x)
