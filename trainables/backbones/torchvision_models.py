"""Backbones from torchvision: VGG, ResNet, MobileNetV2. Their weights are torchvision's own ImageNet weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainables.backbones.backbone import BackboneInfo, Layer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def torchvision_backbone(name: str, layers: tuple[Layer, ...], stages: Callable[[nn.Module], list[nn.Module]]) -> BackboneInfo:
    """A torchvision classification network; ``stages`` cuts it at ``layers``."""

    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None)

    def weights() -> object:
        import torchvision

        return torchvision.models.get_model_weights(name).IMAGENET1K_V1

    def download() -> dict[str, Tensor]:
        return weights().get_state_dict(progress=True, check_hash=True, weights_only=True)  # type: ignore[attr-defined]

    return BackboneInfo(
        name=name,
        layers=layers,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stages=stages,
        build=build,
        download=download,
        cache_file=_CACHE_FILES[name],
    )


def cut_features(*ends: int) -> Callable[[nn.Module], list[nn.Module]]:
    """Cuts a network's ``features`` after each index in ``ends``, inclusive."""

    def stages(network: nn.Module) -> list[nn.Module]:
        features = network.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        starts = [0, *(end + 1 for end in ends[:-1])]
        return [_out_of_place(features[start : end + 1]) for start, end in zip(starts, ends, strict=True)]

    return stages


def resnet_stages(network: nn.Module) -> list[nn.Module]:
    """The stem up to the max-pool, joined to ``layer1``; then ``layer2`` to ``layer4``."""
    part = network.get_submodule
    stem = nn.Sequential(part("conv1"), part("bn1"), part("relu"), part("maxpool"), part("layer1"))
    return [stem, part("layer2"), part("layer3"), part("layer4")]


def _out_of_place(stage: nn.Module) -> nn.Module:
    """In-place activations would overwrite the previous stage's output, which a loss may still need."""
    for module in stage.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return stage


# As published by torchvision; the last part is the start of the file's sha256.
_CACHE_FILES = {
    "vgg16": "vgg16-397923af.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
}

VGG16_LAYERS = (
    Layer("features.3", 64, 1),
    Layer("features.8", 128, 2),
    Layer("features.15", 256, 4),
    Layer("features.22", 512, 8),
    Layer("features.29", 512, 16),
)
