"""Pretrained networks by name. A new one is a `BackboneInfo` and one line here."""

from __future__ import annotations

from trainables.backbones.backbone import Backbone, BackboneInfo, Layer
from trainables.backbones.efficientnet_lite import efficientnet_lite
from trainables.backbones.torchvision_models import VGG16_LAYERS, cut_features, resnet_stages, torchvision_backbone
from trainables.backbones.weights import WeightsNotFoundError, available_offline, how_to_get, load_backbone
from trainables.registry import Registry

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneInfo",
    "WeightsNotFoundError",
    "available_offline",
    "how_to_get",
    "load_backbone",
]

_ALL = (
    efficientnet_lite(0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    efficientnet_lite(1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    efficientnet_lite(2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    torchvision_backbone("vgg16", VGG16_LAYERS, cut_features(3, 8, 15, 22, 29)),
    torchvision_backbone(
        "resnet18",
        (Layer("layer1", 64, 4), Layer("layer2", 128, 8), Layer("layer3", 256, 16), Layer("layer4", 512, 32)),
        resnet_stages,
    ),
    torchvision_backbone(
        "resnet50",
        (Layer("layer1", 256, 4), Layer("layer2", 512, 8), Layer("layer3", 1024, 16), Layer("layer4", 2048, 32)),
        resnet_stages,
    ),
    torchvision_backbone(
        "mobilenet_v2",
        (
            Layer("features.1", 16, 2),
            Layer("features.3", 24, 4),
            Layer("features.6", 32, 8),
            Layer("features.13", 96, 16),
            Layer("features.17", 320, 32),
        ),
        cut_features(1, 3, 6, 13, 17),
    ),
)

BACKBONES: Registry[BackboneInfo] = Registry("backbone", {info.name: info for info in _ALL})
