"""ArtFID (Wright and Ommer 2022): (1 + content distance) · (1 + FID to the style pictures), for style transfer; lower is better.

The paper takes LPIPS for the content and Inception for the FID. Here one named extractor serves both: the content distance is
LPIPS's form without its learned weights (Zhang et al. 2018, eq. 1 with w = 1): features of output and input, each position scaled
to length 1, their squared distance averaged over positions and layers. So ``artfid[efficientnet_lite2,64px,n=64]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.metrics.features import INCEPTION
from trainables.metrics.names import MetricName, parse_metric
from trainables.registry import unknown_name

KIND = "artfid"


@dataclass(frozen=True, order=True)
class ArtFidName:
    """A parsed name; ``str()`` gives it back."""

    fid: MetricName

    def __str__(self) -> str:
        return KIND + str(self.fid).removeprefix("fid")

    @property
    def kind(self) -> str:
        return KIND

    @property
    def n(self) -> int:
        return self.fid.n

    @property
    def extractor(self) -> str:
        return self.fid.extractor

    @property
    def lower_is_better(self) -> bool:
        return True

    def value(self, content: float, fid: float) -> float:
        """ArtFID of its two parts."""
        return (1 + content) * (1 + fid)


def parse_artfid(text: str, backbones: Collection[str] | None = None) -> ArtFidName:
    """Reads ``artfid[efficientnet_lite2,64px,n=64]``.

    Raises:
        ValueError: malformed, or an extractor without layers to compare content by.
    """
    fid = parse_metric("fid" + text.strip().removeprefix(KIND), backbones)
    if fid.extractor == INCEPTION:
        raise ValueError(unknown_name("extractor of artfid, which must be a backbone,", INCEPTION, backbones or ()))
    return ArtFidName(fid)


class ContentDistance:
    """Outputs and inputs, uint8 [N, 3, H, W] → their content distance, one value in [0, 4] for each image."""

    def __init__(self, name: ArtFidName, load_backbone: Callable[[str], nn.Module], device: torch.device) -> None:
        self.size = (name.fid.size_px, name.fid.size_px)
        self.network = load_backbone(name.extractor).to(device)

    @torch.no_grad()
    def __call__(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        a, b = (self._features(images) for images in (outputs, inputs))
        layers = [(F.normalize(a[layer]) - F.normalize(b[layer])).square().sum(1).mean(dim=(1, 2)) for layer in a]
        return torch.stack(layers).mean(0)

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        resized = F.interpolate(images.float() / 127.5 - 1, size=self.size, mode="bilinear", antialias=True)
        features: dict[str, Tensor] = self.network(resized)
        return features
