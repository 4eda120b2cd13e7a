"""The trainable heads that read a trunk's features and say real or fake, at every position."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Head(nn.Module):
    """[N, C, h, w] features → [N, 1, h, w] logits. Spectrally normalised (Miyato et al. 2018), no batch statistics."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            spectral_norm(nn.Conv2d(in_channels, channels, 1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(channels, 1, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)
