"""Super-resolution, denoising, colorization and style transfer by closed forms and against Pillow."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from trainables.layers.keyed_noise import keyed_uniform
from trainables.randomness import sample_keys
from trainables.tasks import photographs
from trainables.tasks.colorization import Colorization, ColorizationOptions
from trainables.tasks.denoising import Denoising, DenoisingOptions
from trainables.tasks.jpeg import jpeg
from trainables.tasks.photons import photon_counts
from trainables.tasks.ranges import as_file, to_levels
from trainables.tasks.style_transfer import StyleTransfer, StyleTransferOptions
from trainables.tasks.super_resolution import SuperResolution, SuperResolutionOptions


def noise_picture(height: int, width: int) -> Tensor:
    levels = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0))
    return levels.float() / 127.5 - 1


def keys(count: int) -> Tensor:
    return sample_keys(torch.arange(count), 9)


def resized_by_pillow(picture: Tensor, height: int, width: int) -> Tensor:
    image = Image.fromarray(((picture[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC))).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.parametrize("scale", [2, 4])
def test_the_condition_is_pillow_s_bicubic_down_and_up_again(scale: int) -> None:
    task = SuperResolution(SuperResolutionOptions(scale=scale), 32)
    picture = noise_picture(32, 48)
    expected = resized_by_pillow(resized_by_pillow(picture, 32 // scale, 48 // scale), 32, 48)
    # Pillow rounds its kernels to fixed point and the result to levels, which may shift a low-resolution level by one.
    assert (task.degrade(picture, keys(1)) - expected).abs().max() < 2.6 / 127.5


@pytest.mark.parametrize("scale", [2, 4])
def test_training_sees_what_a_low_resolution_file_would_give(scale: int) -> None:
    """At sizes that the scale does not divide, the pixels still lie on the grid of the enlargement."""
    task = SuperResolution(SuperResolutionOptions(scale=scale), 32)
    low = noise_picture(9, 5)
    enlarged = task.inputs_from_picture(low)
    assert enlarged.shape == (1, 3, 9 * scale, 5 * scale)
    ramp = torch.linspace(-0.8, 0.8, 31).view(1, 1, 1, 31).expand(1, 3, 31, 31).contiguous()
    inner = slice(2 * scale, 31 - 3 * scale)
    error = (task.degrade(ramp, keys(1)) - ramp)[..., inner, inner]
    assert error.abs().max() < 1.5 / 127.5, "a ramp stays where it is; half a pixel's shift would be 3.4 levels"


def test_the_preview_shows_the_low_resolution_pixels() -> None:
    task = SuperResolution(SuperResolutionOptions(scale=4), 32)
    smooth = torch.nn.functional.interpolate(noise_picture(3, 3), size=(32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    shown = task.show(task.degrade(smooth, keys(1)))
    blocks = shown.view(1, 3, 8, 4, 8, 4)
    assert torch.equal(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks))
    low = torch.nn.functional.interpolate(smooth, scale_factor=0.25, mode="bicubic", antialias=True)
    assert (shown[..., ::4, ::4] - low).abs().mean() < 0.05


def test_gaussian_noise_has_the_deviation_asked_for() -> None:
    task = Denoising(DenoisingOptions(sigma=(0.1, 0.1)), 32)
    grey = torch.zeros(4, 3, 64, 64)
    noise = task.degrade(grey, keys(4)) - grey
    assert float(noise.std()) / 2 == pytest.approx(0.1, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("level", [0.2, 0.5])
def test_photon_counts_have_mean_and_variance_of_their_rate(level: float) -> None:
    """Var(counts / photons) = level / photons."""
    task = Denoising(DenoisingOptions(kind="poisson", photons=(40, 40)), 32)
    noisy = (task.degrade(torch.full((4, 3, 64, 64), 2 * level - 1), keys(4)) + 1) / 2
    assert float(noisy.mean()) == pytest.approx(level, abs=0.004)
    assert float(noisy.var()) == pytest.approx(level / 40, rel=0.04)
    assert torch.equal(task.degrade(torch.full((1, 3, 8, 8), -1.0), keys(1)), torch.full((1, 3, 8, 8), -1.0))


@pytest.mark.parametrize("mean", [0.05, 0.8, 3.0, 15.9, 16.1, 40.0, 900.0])
def test_photon_counts_are_poisson_s(mean: float) -> None:
    """Kolmogorov's distance to the distribution function, on both sides of where its computation changes (16)."""
    counts = photon_counts(torch.ones(8, 1, 128, 128), torch.full((8,), mean), keys(8), 0).flatten().double()
    assert float(counts.mean()) == pytest.approx(mean, abs=5 * math.sqrt(mean / len(counts)))
    assert float(counts.var()) == pytest.approx(mean, rel=5 * math.sqrt((2 + 1 / mean) / len(counts)))
    values, times = counts.unique(return_counts=True)
    assert np.abs(np.cumsum(times.numpy()) / len(counts) - scipy.stats.poisson.cdf(values.numpy(), mean)).max() < 2.2 / math.sqrt(
        len(counts)
    )


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 95])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 20), (9, 11)])
def test_jpeg_is_pillow_s(quality: int, height: int, width: int) -> None:
    """To rounding: a coefficient halfway between two steps may fall to either, which moves its block by a few levels."""
    smooth = torch.nn.functional.interpolate(noise_picture(9, 9), size=(height, width), mode="bicubic").clamp(-1, 1)
    picture = as_file(smooth)
    buffer = io.BytesIO()
    Image.fromarray(to_levels(picture[0]).byte().permute(1, 2, 0).numpy()).save(buffer, format="JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None].float()
    error = (to_levels(jpeg(picture, torch.tensor([float(quality)]))) - expected).abs()
    assert error.mean() < 1.5
    assert error.mean() < (expected - to_levels(picture)).abs().mean() / 3


def test_lower_quality_spoils_more_and_levels_are_those_of_a_file() -> None:
    picture = noise_picture(33, 20)
    errors = []
    for quality in (5, 30, 95):
        noisy = Denoising(DenoisingOptions(kind="jpeg", quality=(quality, quality)), 32).degrade(picture, keys(1))
        errors.append(float((noisy - picture).square().mean()))
        assert torch.equal(((noisy + 1) * 127.5).round() / 127.5 - 1, noisy)
    assert errors[0] > errors[1] > errors[2] > 0


def test_strengths_are_drawn_from_the_whole_range() -> None:
    task = Denoising(DenoisingOptions(sigma=(0.04, 0.2)), 32)
    deviations = task.degrade(torch.zeros(200, 3, 24, 24), keys(200)).std(dim=(1, 2, 3)) / 2
    assert 0.035 < float(deviations.min()) < 0.05
    assert 0.19 < float(deviations.max()) < 0.21
    assert float(deviations.mean()) == pytest.approx(0.12, abs=0.015)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "jpeg", "sigma": (0.1, 0.2)}, "sigma is the strength of kind 'gaussian', but kind is 'jpeg'.* quality"),
        ({"sigma": (0.3, 0.2)}, r"low <= high must hold, but got \[0.3, 0.2\]"),
        ({"sigma": (0, 0.2)}, "greater than 0"),
        ({"kind": "jpeg", "quality": (5, 100)}, "less than or equal to 95"),
        ({"kind": "poisson", "photons": (float("nan"), 5)}, "photons"),
        ({"kind": "poison"}, "'gaussian', 'poisson', 'jpeg' or 'photographs'"),
        ({"held_out": 0}, "greater than 0"),
        ({"shuffled": True}, "shuffled is for kind 'photographs', but kind is 'gaussian'"),
        ({"kind": "photographs", "sigma": (0.1, 0.2)}, "kind is 'photographs', whose strengths are fixed"),
    ],
)
def test_strengths_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DenoisingOptions(**options)


def test_the_right_colours_give_the_picture_back() -> None:
    from trainables.tasks.lab import lab_from_srgb

    task = Colorization(ColorizationOptions(), 32)
    picture = noise_picture(32, 32)
    condition = task.degrade(picture, keys(1))
    output = torch.atanh(lab_from_srgb((picture + 1) / 2)[:, 1:] / 110)
    assert (task.compose(condition, output) - picture).abs().max() < 1e-3


def test_a_grey_picture_and_its_colours_have_one_lightness() -> None:
    task = Colorization(ColorizationOptions(), 32)
    picture = noise_picture(32, 32)
    condition = task.degrade(picture, keys(1))
    grey = task.baseline(condition)
    assert (grey - grey.mean(dim=1, keepdim=True)).abs().max() < 1e-4
    torch.testing.assert_close(task.inputs_from_picture(grey), condition, atol=1e-4, rtol=0)


def test_style_pictures_must_be_named_and_the_content_is_left_as_it_is() -> None:
    with pytest.raises(ValidationError, match="style"):
        StyleTransferOptions()
    with pytest.raises(ValidationError, match="at least 1 character"):
        StyleTransferOptions(style="")
    task = StyleTransfer(StyleTransferOptions(style="pictures"), 32)
    picture = noise_picture(16, 16)
    assert torch.equal(task.degrade(picture, keys(1)), picture)
    assert not task.paired


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.3), (2.0, 0.5)])
def test_a_blur_is_a_gaussian_of_its_two_deviations(first: float, second: float) -> None:
    """Moments of what becomes of a point, along the axes of the ellipse."""
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    low, high = photographs.BLUR
    u = torch.zeros(1, 9)
    u[0, 0], u[0, 1], u[0, 2] = (first - low) / (high - low), (second - low) / (high - low), 0.25
    spread = photographs._blurred(point, u, keys(1))[0, 0].double()
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    at = torch.arange(41, dtype=torch.float64) - 20
    along, across = (at[None] + at[:, None]) / math.sqrt(2), (at[:, None] - at[None]) / math.sqrt(2)
    if first > 1:
        assert float((spread * along**2).sum()) == pytest.approx(first**2, rel=0.03)
        assert float((spread * across**2).sum()) == pytest.approx(second**2, rel=0.1)
    else:
        assert float(spread[20, 20]) > 0.9


@pytest.mark.parametrize("cubic", [False, True])
def test_resampling_is_the_library_s(cubic: bool) -> None:
    """Each picture by its own share, at the sizes that the shares give."""
    pictures = torch.cat([noise_picture(40, 24)] * 2)
    low, high = photographs.RESAMPLED
    shares = torch.tensor([0.5, 0.75])
    u = torch.zeros(2, 9)
    u[:, 3], u[:, 4] = (shares - low) / (high - low), 0.0 if cubic else 0.9
    found = photographs._resampled(pictures, u, keys(2))
    mode = "bicubic" if cubic else "bilinear"
    for share, picture, one in zip(shares.tolist(), pictures, found, strict=True):
        small = torch.nn.functional.interpolate(
            picture[None], size=(round(40 * share), round(24 * share)), mode=mode, antialias=True
        )
        back = torch.nn.functional.interpolate(small, size=(40, 24), mode=mode, antialias=True)
        torch.testing.assert_close(one, back[0].clamp(-1, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shuffled", [False, True])
def test_photographs_are_spoilt_each_by_its_own_key(shuffled: bool) -> None:
    pictures = torch.cat([noise_picture(32, 48)] * 6)
    found = photographs.spoilt(pictures, keys(6), shuffled)
    assert torch.equal(found, as_file(found))
    assert torch.equal(photographs.spoilt(pictures[2:4], keys(6)[2:4], shuffled), found[2:4])
    errors = (found - pictures).square().mean(dim=(1, 2, 3))
    assert len(errors.unique()) == 6
    assert errors.min() > 1e-3


def test_a_random_order_is_another_for_each_picture() -> None:
    """Of 24, nearly all come up in 200 pictures; and the order makes a difference."""
    orders = keyed_uniform(keys(200), photographs._ORDER, 4).argsort(dim=1)
    assert len(orders.unique(dim=0)) >= 22
    pictures = torch.cat([noise_picture(32, 32)] * 8)
    assert not torch.equal(photographs.spoilt(pictures, keys(8), True), photographs.spoilt(pictures, keys(8), False))
