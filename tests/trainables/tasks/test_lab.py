"""Colour conversion against published values, against scikit-image, and at the places where curves break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.tasks.lab import lab_from_srgb, srgb_from_lab


def pixels(*colours: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colours, dtype=torch.float32).T[None, :, None, :]


# L*a*b* of sRGB's corners under D65, as computed by Lindbloom's calculator to four digits.
CORNERS = [
    ((0, 0, 0), (0, 0, 0)),
    ((1, 1, 1), (100, 0, 0)),
    ((1, 0, 0), (53.2408, 80.0925, 67.2032)),
    ((0, 1, 0), (87.7347, -86.1827, 83.1793)),
    ((0, 0, 1), (32.2970, 79.1875, -107.8602)),
]


@pytest.mark.parametrize(("rgb", "lab"), CORNERS)
def test_published_values(rgb: tuple[float, float, float], lab: tuple[float, float, float]) -> None:
    torch.testing.assert_close(lab_from_srgb(pixels(rgb)), pixels(lab), atol=0.01, rtol=0)
    torch.testing.assert_close(srgb_from_lab(pixels(lab)), pixels(rgb), atol=1e-3, rtol=0)


def test_agrees_with_scikit_image_on_every_part_of_the_cube() -> None:
    color = pytest.importorskip("skimage.color", reason="scikit-image is not installed")
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 18)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    theirs = torch.from_numpy(color.rgb2lab(grid)).permute(2, 0, 1)[None]
    rgb = torch.from_numpy(grid).permute(2, 0, 1)[None]
    # Its matrix has six digits and a white point that is not quite its own, so its greys are not quite grey.
    torch.testing.assert_close(lab_from_srgb(rgb), theirs, atol=0.02, rtol=0)
    back = torch.from_numpy(color.lab2rgb(theirs[0].permute(1, 2, 0).numpy())).permute(2, 0, 1)[None]
    torch.testing.assert_close(srgb_from_lab(theirs), back, atol=1e-3, rtol=0)


def test_there_and_back_at_all_levels() -> None:
    rgb = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rgb[0] = torch.arange(1600).view(40, 40) % 256 / 255
    torch.testing.assert_close(srgb_from_lab(lab_from_srgb(rgb)), rgb, atol=1e-7, rtol=0)
    torch.testing.assert_close(srgb_from_lab(lab_from_srgb(rgb.float())), rgb.float(), atol=3e-5, rtol=0)


def test_greys_have_no_colour_and_lightness_increases() -> None:
    grey = (torch.arange(256) / 255).view(1, 1, 1, 256).expand(1, 3, 1, 256)
    lightness, a, b = lab_from_srgb(grey)[0, :, 0]
    assert max(float(a.abs().max()), float(b.abs().max())) < 1e-4
    assert (lightness.diff() > 0).all()
    assert float(lightness[0]) == pytest.approx(0, abs=1e-5)
    assert float(lightness[-1]) == pytest.approx(100, abs=1e-4)


def test_gradients_are_right_and_finite_at_black_white_and_outside_the_gamut() -> None:
    points = pixels((0, 0, 0), (1, 1, 1), (0.5, 0.2, 0.9), (0, 1, 0), (1, 0, 0)).double()
    assert torch.autograd.gradcheck(lab_from_srgb, (points[..., 2:3].clone().requires_grad_(),))
    lab = lab_from_srgb(points)
    assert torch.autograd.gradcheck(srgb_from_lab, (lab[..., 2:3].clone().requires_grad_(),))
    outside = pixels((0, 0, 0), (0, 100, -100), (100, 90, 90), (50, -110, 110), (100, 0, 0), (10, -110, -110)).requires_grad_()
    inside = points.float().requires_grad_()
    for function, x in ((lab_from_srgb, inside), (srgb_from_lab, outside)):
        result = function(x)
        assert result.isfinite().all()
        (gradient,) = torch.autograd.grad(result.sum(), x)
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(dim=1) > 0).all()
