"""What every entry of DISCRIMINATORS promises, by its being registered, on two kinds of trunk."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.backbones import BACKBONES, load_backbone
from trainables.discriminators import DISCRIMINATORS

every_discriminator = pytest.mark.parametrize("name", DISCRIMINATORS)
on_every_trunk = pytest.mark.parametrize("trunk", ["efficientnet_lite0", "resnet18"])


@functools.cache
def _state(trunk: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        weights = "pretrained" if BACKBONES[trunk].package else "random"
        return load_backbone(BACKBONES[trunk], weights).state_dict()


def build(name: str, trunk: str = "efficientnet_lite0", seed: int = 0, **options: Any) -> Any:
    with torch.random.fork_rng():
        backbone = load_backbone(BACKBONES[trunk], "random")
        backbone.load_state_dict(_state(trunk))
        torch.manual_seed(seed)
        return DISCRIMINATORS[name](DISCRIMINATORS[name].Options(**options), lambda _: backbone)


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@every_discriminator
@on_every_trunk
@pytest.mark.parametrize("scales", [1, 4])
def test_each_scale_gives_a_map_of_logits(name: str, trunk: str, scales: int) -> None:
    logits = build(name, trunk, scales=scales, head_channels=8)(images(3, 64))
    strides = [layer.stride for layer in BACKBONES[trunk].layers[-scales:]]
    assert [tuple(x.shape) for x in logits] == [(3, 1, 64 // stride, 64 // stride) for stride in strides]
    assert all(x.isfinite().all() for x in logits)


@every_discriminator
@on_every_trunk
def test_gradients_reach_the_images_and_every_trainable_parameter_and_no_other(name: str, trunk: str) -> None:
    discriminator = build(name, trunk)
    x = images().requires_grad_()
    sum(logits.sum() for logits in discriminator(x)).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    trainable = {key for key, p in discriminator.named_parameters() if p.requires_grad}
    assert any(key.startswith("heads.") for key in trainable)
    assert all(key.startswith(("heads.", "backbone.")) for key in trainable)
    for key, parameter in discriminator.named_parameters():
        assert (parameter.grad is not None) == (key in trainable), key


@every_discriminator
@pytest.mark.parametrize("training", [True, False])
def test_logits_do_not_depend_on_who_shares_the_batch(name: str, training: bool) -> None:
    """In training, spectral normalisation moves its vectors with every forward, so each batch gets a discriminator of its own."""
    with torch.no_grad():
        alone = build(name).train(training)(images(4)[1:2])
        among = build(name).train(training)(images(4))
    for a, b in zip(alone, among, strict=True):
        assert_same_up_to_summation(a, b[1:2])


@every_discriminator
def test_the_seed_decides_all_but_the_trunk(name: str) -> None:
    first, again, other = (build(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(torch.equal(first[key], other[key]) for key in first if key.startswith("backbone."))
    assert any(not torch.equal(first[key], other[key]) for key in first if not key.startswith("backbone."))


@every_discriminator
def test_input_px_resizes_before_the_trunk(name: str) -> None:
    logits = build(name, scales=1, input_px=64)(images(1, 32))
    assert logits[0].shape == (1, 1, 2, 2)


@every_discriminator
def test_more_scales_than_stages_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"scales must be <= 5, the stages of the trunk, but got 6"):
        build(name, scales=6)


@every_discriminator
def test_options_name_their_component_and_refuse_unknown_keys(name: str) -> None:
    options = DISCRIMINATORS[name].Options
    assert options().name == name
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options(scale=3)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        options(scales=0)


@pytest.mark.parametrize("depth", range(6))
def test_the_trunk_is_frozen_to_the_depth_asked_for(depth: int) -> None:
    stages = build("trunk", frozen_depth=depth).backbone.stages
    assert [all(p.requires_grad for p in stage.parameters()) for stage in stages] == [index >= depth for index in range(5)]


def test_a_depth_beyond_the_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="frozen_depth must be <= 5, but got 6"):
        build("trunk", frozen_depth=6)


@pytest.mark.parametrize("mixing", ["none", "channel", "channel+scale"])
def test_projected_mixing_is_never_trained(mixing: str) -> None:
    discriminator = build("projected", mixing=mixing)
    assert all(key.startswith("heads.") for key, p in discriminator.named_parameters() if p.requires_grad)
    assert len(list(discriminator.channel_mixing.parameters())) == (0 if mixing == "none" else 4)
    assert len(list(discriminator.scale_mixing.parameters())) == (4 if mixing == "channel+scale" else 0)


def test_projected_scales_mix_from_deep_to_shallow_only() -> None:
    """The shallow map sees the deep features; the deepest map sees nothing of the shallow ones."""
    discriminator = build("projected", scales=2).eval()
    features = discriminator.backbone(images(1, 64), discriminator.layers)
    shallow, deep = (features[layer] for layer in discriminator.layers)

    def logits(shallow: torch.Tensor, deep: torch.Tensor) -> list[torch.Tensor]:
        by_layer = dict(zip(discriminator.layers, (shallow, deep), strict=True))
        discriminator.backbone.forward = lambda *_: by_layer
        return discriminator(images(1, 64))

    before = logits(shallow, deep)
    assert torch.equal(logits(shallow * 2, deep)[1], before[1])
    assert not torch.equal(logits(shallow, deep * 2)[0], before[0])
