"""Images → features: quantise, resize, embed.

The same code runs on real and on generated images:

1. A generated image in [-1, 1] becomes 8-bit as if written to a PNG: ``round((x + 1) * 127.5)``, halves to even, clamped to
   0..255.
2. Resize to size x size pixels in float32 on the scale 0..255, without rounding afterwards; the aspect ratio is not kept. The
   filter is part of the metric's name: see `FILTERS`.
3. ``x / 127.5 - 1`` into a backbone, whose last layer is averaged over its positions; Inception's own input scale is
   ``(x - 128) / 128``, as in the graph that FID was defined with.

Convolutions run in full float32 (no TF32, no autocast), whatever the caller has set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.metrics.inception import load_inception

INCEPTION = "inception"


def _torch_filter(mode: str) -> Callable[[Tensor, int], Tensor]:
    def resize(x: Tensor, size: int) -> Tensor:
        y = F.interpolate(x, size=(size, size), mode=mode, align_corners=False, antialias=True)
        return y.clamp(0, 255)  # a cubic filter overshoots

    return resize


def _tensorflow_bilinear(x: Tensor, size: int) -> Tensor:
    """TensorFlow 1's bilinear resize: corners at the origin, two nearest pixels, no antialiasing. [N,C,H,W] → [N,C,size,size]."""
    for dim in (2, 3):
        length = x.shape[dim]
        position = torch.arange(size, dtype=x.dtype, device=x.device) * (length / size)
        low = position.floor().long()
        high = (low + 1).clamp(max=length - 1)
        weight = (position - low).view((-1, 1) if dim == 2 else (-1,))
        x = torch.lerp(x.index_select(dim, low), x.index_select(dim, high), weight)
    return x


FILTERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "bilinear": _torch_filter("bilinear"),  # antialiased, as Pillow and torchmetrics
    "bicubic": _torch_filter("bicubic"),  # antialiased (a = -0.5), clamped to 0..255, as Pillow and clean-fid
    "tf1": _tensorflow_bilinear,  # TensorFlow 1's, without antialiasing, as the original FID and torch-fidelity
}


def quantise(images: Tensor) -> Tensor:
    """Images in [-1, 1] → uint8, as they would be written to a file. NaN becomes 0: check for it before."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Extractor:
    """Features of 8-bit images by one network after one resize.

    Args:
        name: ``inception``, or a name that ``load_backbone`` knows.
        size_px: images are resized to size_px x size_px.
        filter: an entry of `FILTERS`.
        load_backbone: name → module that maps images [N, 3, H, W] in [-1, 1] to a dict of feature maps in forward order, of
            which the last is averaged over its positions. It raises for unknown names.
        device: where the network runs.
    """

    def __init__(
        self, name: str, size_px: int, filter: str, *, load_backbone: Callable[[str], nn.Module], device: torch.device
    ) -> None:
        self.name = name
        self.size_px = size_px
        self.filter = filter
        self.device = device
        network = load_inception() if name == INCEPTION else load_backbone(name)
        # Channels last: up to twice as fast on a CPU, also on tensor cores.
        self.network = network.to(device).to(memory_format=torch.channels_last).requires_grad_(False).eval()
        self.weights_hash = hash_weights(network)
        self.dim = self(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)).shape[1]

    @property
    def preprocessing(self) -> str:
        return f"uint8,{self.size_px}px-{self.filter}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] → float32 [N, D], on the extractor's device.

        Raises:
            ValueError: not 8-bit RGB images.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, H, W], but got {images.dtype} {list(images.shape)}")
        with full_precision(self.device):
            x = FILTERS[self.filter](images.to(self.device).float(), self.size_px)
            x = x.contiguous(memory_format=torch.channels_last)
            if self.name == INCEPTION:
                return self.network((x - 128) / 128)
            layers = self.network(x / 127.5 - 1)
            return list(layers.values())[-1].mean(dim=(2, 3))

    def in_batches_of(self, size: int, images: Tensor) -> Tensor:
        """Features of at most ``size`` images, computed in a batch of exactly ``size``.

        Convolutions round differently for different batch sizes (1e-7 relative). With a fixed one, an image's features do not
        depend on how images are shared among workers. The filling is dropped.
        """
        count = images.shape[0]
        if count < size:
            images = torch.cat([images, images[-1:].expand(size - count, -1, -1, -1)])
        return self(images)[:count]


def hash_weights(network: nn.Module) -> str:
    """Digest of all parameters and buffers of a network, with their names, types and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Float32 without TF32 or autocast, convolutions by deterministic kernels; the caller's settings come back afterwards."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        products = torch.backends.cuda.matmul
        before, products.allow_tf32 = products.allow_tf32, False
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                yield
        finally:
            products.allow_tf32 = before
