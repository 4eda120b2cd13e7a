"""Pretrained networks by name. A new one is a `BackboneInfo` and one line here; ``torchvision/NAME``, ``timm/NAME`` need none."""

from __future__ import annotations

from trainables.backbones.backbone import Backbone, BackboneInfo, Layer, resize
from trainables.backbones.efficientnet_lite import efficientnet_lite
from trainables.backbones.open_registry import BackboneRegistry
from trainables.backbones.timm_models import timm_network
from trainables.backbones.torchvision_models import features_backbone, resnet, torchvision_network
from trainables.backbones.weights import WeightsNotFoundError, available_offline, how_to_get, load_backbone

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneInfo",
    "Layer",
    "WeightsNotFoundError",
    "available_offline",
    "how_to_get",
    "load_backbone",
    "resize",
]

_ALL = (
    efficientnet_lite(0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    efficientnet_lite(1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    efficientnet_lite(2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    features_backbone("vgg16", (3, 64, 1), (8, 128, 2), (15, 256, 4), (22, 512, 8), (29, 512, 16)),
    features_backbone("vgg19", (3, 64, 1), (8, 128, 2), (17, 256, 4), (26, 512, 8), (35, 512, 16)),
    resnet("resnet18", 64, 128, 256, 512),
    resnet("resnet50", 256, 512, 1024, 2048),
    features_backbone("mobilenet_v2", (1, 16, 2), (3, 24, 4), (6, 32, 8), (13, 96, 16), (17, 320, 32)),
    features_backbone("efficientnet_b0", (1, 16, 2), (2, 24, 4), (3, 40, 8), (5, 112, 16), (7, 320, 32)),
    features_backbone("convnext_tiny", (1, 96, 4), (3, 192, 8), (5, 384, 16), (7, 768, 32)),
    features_backbone("squeezenet1_1", (1, 64, 2), (4, 128, 4), (7, 256, 8), (12, 512, 16)),
)

BACKBONES = BackboneRegistry({info.name: info for info in _ALL}, {"torchvision": torchvision_network, "timm": timm_network})
