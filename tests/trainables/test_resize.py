"""The resize before trunks and feature losses looks at every pixel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.backbones.backbone import resize


def pictures(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("height", "width", "side"), [(256, 256, 64), (100, 37, 24), (130, 48, 64)])
def test_every_pixel_gets_gradient_where_it_shrinks(height: int, width: int, side: int) -> None:
    images = pictures(height, width).requires_grad_()
    (gradient,) = torch.autograd.grad(resize(images, side).sum(), images)
    assert gradient.min() > 0
    assert float(gradient[0, 0].sum()) == pytest.approx(side**2, rel=1e-5), "the weights of each new pixel add up to one"


@pytest.mark.parametrize(("height", "width", "side"), [(256, 256, 64), (100, 37, 24), (130, 48, 64), (32, 20, 64)])
def test_it_is_the_library_s_antialiased_bilinear_resize(height: int, width: int, side: int) -> None:
    images = pictures(height, width)
    expected = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize(images, side), expected, atol=1e-5, rtol=0)


def test_autocast_does_not_round_pictures_to_bfloat16() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resize(pictures(96, 96), 32), resize(pictures(96, 96), 32).float())
        torch.testing.assert_close(resize(torch.full((1, 3, 96, 96), 0.1234567), 32), torch.full((1, 3, 32, 32), 0.1234567))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    images = pictures(32, 32)
    assert resize(images, 32) is images
    assert resize(images, None) is images
