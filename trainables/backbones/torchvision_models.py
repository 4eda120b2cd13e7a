"""Backbones from torchvision, with its ImageNet weights: some by name, cut by hand, and any other by `torchvision_network`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from torch import Tensor, nn

from trainables.backbones.backbone import BackboneInfo, Layer
from trainables.backbones.chain import out_of_place, plan_stages
from trainables.registry import nearest_names

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def features_backbone(name: str, *layers: tuple[int, int, int]) -> BackboneInfo:
    """A network of torchvision cut within its ``features``, after each index of ``layers``: (index, channels, stride)."""
    ends = [index for index, *_ in layers]

    def stages(network: nn.Module) -> list[nn.Module]:
        features = network.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        starts = [0, *(end + 1 for end in ends[:-1])]
        return [out_of_place(features[start : end + 1]) for start, end in zip(starts, ends, strict=True)]

    return _named(name, tuple(Layer(f"features.{index}", channels, stride) for index, channels, stride in layers), stages)


def resnet(name: str, *channels: int) -> BackboneInfo:
    """A ResNet of torchvision: the stem up to the max-pool, joined to ``layer1``; then ``layer2`` to ``layer4``."""

    def stages(network: nn.Module) -> list[nn.Module]:
        part = network.get_submodule
        stem = nn.Sequential(*map(part, ("conv1", "bn1", "relu", "maxpool", "layer1")))
        return [out_of_place(stage) for stage in (stem, part("layer2"), part("layer3"), part("layer4"))]

    return _named(name, tuple(Layer(f"layer{i + 1}", width, 4 * 2**i) for i, width in enumerate(channels)), stages)


def _named(name: str, layers: tuple[Layer, ...], stages: Callable[[nn.Module], list[nn.Module]]) -> BackboneInfo:
    return BackboneInfo(
        name=name,
        layers=layers,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stages=stages,
        build=functools.partial(_build, name),
        download=functools.partial(_download, name),
        cache_file=_CACHE_FILES[name],
    )


@functools.cache
def torchvision_network(name: str) -> BackboneInfo:
    """Any of torchvision's classification networks that is a convolution pyramid, as ``torchvision/NAME``.

    Raises:
        ValueError: torchvision has no such network, naming the nearest; or it is no pyramid.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"unknown torchvision network {name!r}; the nearest: {nearest_names(name, known)}")
    full_name = f"torchvision/{name}"
    plan = plan_stages(full_name, functools.partial(_build, name))
    weights = _weights(name)
    transform = weights.transforms()
    # These two turn ImageNet's normalisation into this one in their forward, of which a trunk's stages are no part.
    half = name in _RENORMALISING
    return BackboneInfo(
        name=full_name,
        layers=plan.layers,
        mean=(0.5, 0.5, 0.5) if half else tuple(transform.mean),
        std=(0.5, 0.5, 0.5) if half else tuple(transform.std),
        stages=plan.cut,
        build=functools.partial(_build, name),
        download=functools.partial(_download, name),
        cache_file=PurePosixPath(weights.url).name,
    )


def _build(name: str) -> nn.Module:
    import torchvision

    # Their constructors warn when it is not said that weights shall be initialised.
    options = {"init_weights": True} if name in _RENORMALISING else {}
    return torchvision.models.get_model(name, weights=None, **options)


def _weights(name: str) -> Any:
    """The weights published first, which never change: for nearly all networks ``IMAGENET1K_V1``."""
    import torchvision

    return next(iter(torchvision.models.get_model_weights(name)))


def _download(name: str) -> dict[str, Tensor]:
    return _weights(name).get_state_dict(progress=True, check_hash=True, weights_only=True)


_RENORMALISING = ("googlenet", "inception_v3")

# As published by torchvision; the last part is the start of the file's sha256.
_CACHE_FILES = {
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth",
    "convnext_tiny": "convnext_tiny-983f1562.pth",
    "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth",
}
