from __future__ import annotations

import math
import urllib.error
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainables.metrics.helpers import emoji
from trainables.collective import Collective
from trainables.metrics.embedding import NotFiniteError
from trainables.metrics.paired import PSNR_CAP, LpipsWeightsNotFoundError, PairedEvaluator, paired_scores, parse_paired

CPU = torch.device("cpu")


def evaluator(*metrics: str, batch_size: int = 4) -> PairedEvaluator:
    return PairedEvaluator(paired_scores(metrics, CPU), collective=Collective(), device=CPU, batch_size=batch_size)


def degraded(indices: Tensor) -> tuple[Tensor, Tensor]:
    targets = emoji(10)[indices, :, 20:52, 20:52].float() / 127.5 - 1
    return targets * 0.9, targets


def test_psnr_is_its_formula_averaged_over_images() -> None:
    outputs, targets = degraded(torch.arange(10))
    errors = (((outputs + 1) * 127.5).round() - ((targets + 1) * 127.5).round()).double().square().mean((1, 2, 3))
    expected = float((10 * torch.log10(255**2 / errors)).mean())
    assert evaluator("psnr[n=10]")(degraded)["psnr[n=10]"] == pytest.approx(expected, rel=1e-6)  # its logarithm is float32


def test_ssim_is_torchmetrics_mean_over_images_of_each_size() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    outputs, targets = (((x + 1) * 127.5).round().double() for x in degraded(torch.arange(10)))
    expected = float(structural_similarity_index_measure(outputs, targets, data_range=255.0))
    values = evaluator("ssim[n=10]", "ssim[n=7]")(degraded)
    assert values["ssim[n=10]"] == pytest.approx(expected, rel=1e-6)
    assert values["ssim[n=7]"] != values["ssim[n=10]"]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    names = ("psnr[n=10]", "ssim[n=10]")
    assert evaluator(*names, batch_size=batch_size)(degraded) == pytest.approx(evaluator(*names)(degraded), rel=1e-9)


def test_a_perfect_restoration_has_a_finite_psnr() -> None:
    values = evaluator("psnr[n=5]", "ssim[n=5]")(lambda i: (degraded(i)[1], degraded(i)[1]))
    assert values == {"psnr[n=5]": pytest.approx(10 * math.log10(12 * 255**2)), "ssim[n=5]": pytest.approx(1)}


def test_one_perfect_picture_does_not_hide_the_others() -> None:
    """An unbounded value would make every mean infinite, whatever the other pictures are like."""

    def restore(indices: Tensor) -> tuple[Tensor, Tensor]:
        outputs, targets = degraded(indices)
        return torch.where((indices == 3)[:, None, None, None], targets, outputs), targets

    name = "psnr[n=10]"
    every = [evaluator("psnr[n=1]")(lambda i, j=j: degraded(i + j))["psnr[n=1]"] for j in range(10) if j != 3]
    assert evaluator(name)(restore)[name] == pytest.approx((sum(every) + PSNR_CAP) / 10, rel=1e-6)


def test_a_picture_as_near_as_rounding_counts_as_perfect_and_one_less_near_does_not() -> None:
    def off_by_one(share: float) -> float:
        targets = torch.full((1, 3, 32, 32), 100.0)
        outputs = targets.clone()
        outputs.flatten()[: int(share * outputs.numel())] += 1
        pair = outputs / 127.5 - 1, targets / 127.5 - 1
        return evaluator("psnr[n=1]", batch_size=1)(lambda _: pair)["psnr[n=1]"]

    assert off_by_one(1 / 16) == PSNR_CAP
    assert off_by_one(1 / 8) == pytest.approx(10 * math.log10(8 * 255**2))


def test_a_bad_output_is_named() -> None:
    def restore(indices: Tensor) -> tuple[Tensor, Tensor]:
        outputs, targets = degraded(indices)
        outputs[indices == 6] = math.inf
        return outputs, targets

    with pytest.raises(NotFiniteError, match="output image 6 "):
        evaluator("psnr[n=10]")(restore)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pnsr[n=5]", "did you mean 'psnr'"),
        ("lpips[vgg16,n=5]", "did you mean 'vgg'"),
        ("lpips[n=5]", "unknown LPIPS network"),
        ("psnr[vgg,n=5]", "has no network"),
        ("psnr[n=0]", "n >= 1"),
        ("psnr", "is written like"),
    ],
)
def test_wrong_names(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_paired(text)


def test_names_come_back() -> None:
    for text in ("psnr[n=5]", "lpips[vgg,n=5]"):
        assert str(parse_paired(text)) == text
    with pytest.raises(ValueError, match="each named once"):
        evaluator("psnr[n=5]", "psnr[n=5]")


def test_lpips_without_its_network_lists_every_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(LpipsWeightsNotFoundError, match=r"put squeezenet1_1-b8a52dc0\.pth into") as caught:
        evaluator("lpips[squeeze,n=5]")
    assert "no route to host" in str(caught.value)


def test_lpips_runs_on_a_network_in_the_hub_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With random convolutions, because the real ones need a download; it is still zero for equal images and positive else."""
    import torchvision

    with torch.random.fork_rng():
        state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    before = torch.random.get_rng_state()
    lpips = evaluator("lpips[squeeze,n=5]")
    assert torch.equal(before, torch.random.get_rng_state())
    assert lpips(degraded)["lpips[squeeze,n=5]"] > 0
    assert lpips(lambda i: (degraded(i)[1], degraded(i)[1]))["lpips[squeeze,n=5]"] == pytest.approx(0, abs=1e-9)
    # Every picture by itself, and nothing kept from one model to the next.
    single = evaluator("lpips[squeeze,n=1]")
    each = [single(lambda i, j=j: degraded(i + j))["lpips[squeeze,n=1]"] for j in range(5)]
    assert lpips(degraded)["lpips[squeeze,n=5]"] == pytest.approx(sum(each) / 5, rel=1e-5)
