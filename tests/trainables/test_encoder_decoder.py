"""Encoder-decoders: what is pretrained in them, how they enlarge, and which depths they take."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainables.backbones import BACKBONES, Backbone, load_backbone
from trainables.generators import GENERATORS, Frame
from trainables.generators.decoder import Level, SubpixelConv, SubpixelDecoder, padded
from trainables.optim import OptimizerOptions, build_optimizer

LITE = BACKBONES["efficientnet_lite0"]


@functools.cache
def backbone() -> Backbone:
    return load_backbone(LITE)


def generator(resolution: int = 64, in_channels: int = 3, **options: Any) -> Any:
    component = GENERATORS["encoder_decoder"]
    return component(
        component.Options(**options), Frame(resolution, in_channels), lambda channels: copy.deepcopy(backbone()).widen(channels)
    )


def pictures(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_sub_pixels_start_as_nearest_neighbours(ratio: int) -> None:
    """ICNR: no checkerboard, whatever the random kernels are."""
    torch.manual_seed(0)
    enlarge = SubpixelConv(6, 5, ratio)
    x = torch.randn(2, 6, 4, 3)
    with torch.no_grad():
        got = enlarge(x)
        small = F.conv2d(x, enlarge.convolution.weight[:: ratio**2])
    assert got.shape == (2, 5, 4 * ratio, 3 * ratio)
    torch.testing.assert_close(got, F.interpolate(small, scale_factor=float(ratio), mode="nearest"))
    assert enlarge.convolution.weight.std() > 0


@pytest.mark.parametrize(("in_channels", "options"), [(3, {"frozen_depth": 0}), (3, {"frozen_depth": 2, "depth": 2}), (4, {})])
def test_the_encoder_computes_the_pretrained_features(in_channels: int, options: dict[str, Any]) -> None:
    made = generator(in_channels=in_channels, **options)
    images = pictures(2, in_channels, 64, 64)
    with torch.no_grad():
        wanted, got = backbone()(images[:, :3], made.layers), made.backbone(images, made.layers)
    assert all(torch.equal(wanted[layer], got[layer]) for layer in made.layers)


def test_the_pretrained_encoder_learns_at_the_rate_of_a_trunk() -> None:
    made = generator(in_channels=4, frozen_depth=0)
    others, trunk = build_optimizer(made, 1e-2, OptimizerOptions(trunk_lr_multiplier=0.1)).param_groups
    assert trunk["lr"] == pytest.approx(1e-3)
    pretrained = {id(p) for name, p in made.backbone.named_parameters() if "extra" not in name}
    assert {id(p) for p in trunk["params"]} == pretrained
    assert {id(p) for p in others["params"]} == {id(p) for p in made.parameters()} - pretrained


def test_as_many_stages_encode_as_leave_features_of_four_pixels() -> None:
    for resolution, depth in ((8, 1), (32, 3), (64, 4), (128, 5), (256, 5)):
        made = generator(resolution)
        assert len(made.layers) == len(made.backbone.stages) == depth
    assert len(generator(64, depth=2, frozen_depth=2).backbone.stages) == 2


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (Frame(4, 3), {}, "efficientnet_lite0 needs images of at least 8 px a side, but got 4"),
        (Frame(16, 3), {"depth": 5}, r"at least the stride of the deepest stage in use \(32\), but got 16"),
        (Frame(64, 3), {"depth": 6}, "depth of encoder_decoder must be <= 5, the stages of efficientnet_lite0, but got 6"),
        (Frame(16, 3), {"frozen_depth": 3}, "<= 2, the stages of efficientnet_lite0 in use at 16 px, but got 3"),
        (Frame(64, 0), {}, "encoder_decoder turns images into images, but the task gives it noise"),
    ],
)
def test_what_does_not_fit_says_why(frame: Frame, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(frame.resolution, frame.in_channels, **options)


def test_padding_repeats_the_edges_and_changes_nothing_else() -> None:
    images = pictures(1, 2, 5, 8)
    larger = padded(images, 8, smallest=11)
    assert larger.shape == (1, 2, 16, 16)
    assert torch.equal(larger[..., :5, :8], images)
    assert torch.equal(larger[..., 5:, :8], images[..., 4:, :].expand(1, 2, 11, 8))
    assert torch.equal(larger[..., 8:], larger[..., 7:8].expand(1, 2, 16, 8))
    assert padded(images, 1) is images


def test_features_that_come_a_little_short_are_fitted_to_their_skip() -> None:
    torch.manual_seed(0)
    decoder = SubpixelDecoder([Level(4, 2), Level(6, 4)], 3, 3, channels=8)
    nn.init.normal_(decoder.to_image.weight)
    made = decoder(torch.randn(2, 3, 16, 12), [torch.randn(2, 4, 7, 5), torch.randn(2, 6, 3, 3)])
    assert made.shape == (2, 3, 16, 12)
    assert made.isfinite().all()


def test_the_plain_unet_has_the_same_decoder() -> None:
    """So a comparison shows what the pretrained encoder brings."""
    unet = GENERATORS["unet"](GENERATORS["unet"].Options(depth=3, channels=16), Frame(64, 3), pytest.fail)
    trunk = generator(64, depth=3, channels=16)
    shapes = [
        {name: p.shape for name, p in made.decoder.named_parameters() if not name.startswith(("skips", "bottom"))}
        for made in (unet, trunk)
    ]
    assert shapes[0] == shapes[1]
