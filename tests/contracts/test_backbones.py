"""What every entry of BACKBONES promises, by its being registered."""

from __future__ import annotations

import copy
import functools
import re

import pytest
import torch
from torch import nn

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.backbones import BACKBONES, Backbone, available_offline, load_backbone

# Two convolution pyramids; a transformer with a class token, one with rotary embeddings and patches of 14 px, and Swin.
TRANSFORMERS = ("timm/test_vit", "timm/eva02_tiny_patch14_224", "timm/swin_tiny_patch4_window7_224")
ANY_BY_NAME = ("torchvision/alexnet", "timm/resnet10t", *TRANSFORMERS)
every_backbone = pytest.mark.parametrize("name", [*BACKBONES, *ANY_BY_NAME])


@functools.cache
def backbone(name: str) -> Backbone:
    """Real weights where an installed package brings them, random ones elsewhere; shared by the tests, which leave it thawed."""
    info = BACKBONES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load_backbone(info, "pretrained" if info.package else "random")


def same_weights(name: str, channels: int) -> Backbone:
    return copy.deepcopy(backbone(name)).widen(channels)


def assert_equal_features(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[layer], wanted[layer]) for layer in wanted)


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@every_backbone
def test_the_layers_are_what_the_entry_says(name: str) -> None:
    info = BACKBONES[name]
    assert info.name == name
    assert info.depth == len(info.layers) == len(backbone(name).stages)
    features = backbone(name)(images(side=64))
    for layer in info.layers:
        batch, channels, *sides = features[layer.name].shape
        assert (batch, channels) == (2, layer.channels)
        lost = [64 / layer.stride - side for side in sides]
        assert all(-1 < x <= 1 for x in lost), "the stride, but for a padded last patch and what trunks without padding lose"
    assert list(features) == list(info.layer_names)
    assert all(x.isfinite().all() and x.std() > 0 for x in features.values())


@every_backbone
def test_each_layer_alone_equals_that_layer_among_all(name: str) -> None:
    """An in-place activation of the next stage would overwrite a feature map that was handed out."""
    together = backbone(name)(images())
    for layer, features in together.items():
        assert torch.equal(backbone(name)(images(), [layer])[layer], features), layer


@every_backbone
def test_forward_stops_at_the_deepest_layer_asked_for(name: str) -> None:
    called: list[int] = []
    handles = [
        stage.register_forward_hook(lambda *_, index=index: called.append(index))
        for index, stage in enumerate(backbone(name).stages)
    ]
    try:
        for depth, layer in enumerate(BACKBONES[name].layer_names):
            called.clear()
            assert list(backbone(name)(images(1), [layer])) == [layer]
            assert called == list(range(depth + 1))
    finally:
        for handle in handles:
            handle.remove()


@every_backbone
def test_freezing_to_each_depth(name: str) -> None:
    network = backbone(name)
    statistics = {key: value.clone() for key, value in network.named_buffers()}
    for depth in range(network.info.depth + 1):
        assert network.freeze(depth) is network
        network.zero_grad()
        x = images().requires_grad_()
        sum(features.square().mean() for features in network.train()(x).values()).backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0, "gradients must reach the images through frozen stages"
        for index, stage in enumerate(network.stages):
            gradients = [p.grad for p in stage.parameters()]
            if index < depth:
                assert all(g is None for g in gradients)
            else:
                assert all(g is not None for g in gradients)
                assert any(g.abs().sum() > 0 for g in gradients if g is not None)
    network.freeze(0)
    assert all(p.requires_grad for p in network.parameters())
    for key, value in network.named_buffers():
        assert torch.equal(value, statistics[key]), f"{key} changed in train()"


@every_backbone
@pytest.mark.parametrize("frozen", ["none", "one", "all"])
def test_a_step_of_training_changes_the_thawed_parameters_and_nothing_else(name: str, frozen: str) -> None:
    network = copy.deepcopy(backbone(name))
    depth = {"none": 0, "one": 1, "all": network.info.depth}[frozen]
    network.freeze(depth).train()
    before = copy.deepcopy(network.state_dict())
    x = images().requires_grad_()
    sum(features.square().mean() for features in network(x).values()).backward()
    # The sign of the gradient, so that each change is far above float32's resolution.
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad.sign()
    assert x.grad is not None
    trained = {f"stages.{i}." for i in range(depth, network.info.depth)}
    parameters = {key for key, _ in network.named_parameters()}
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed <= {key for key in parameters if any(key.startswith(stage) for stage in trained)}
    assert {key[: key.index(".", 7) + 1] for key in changed} == trained


@every_backbone
def test_a_grey_image_is_computed_as_the_rgb_image_of_three_times_its_values(name: str) -> None:
    grey, rgb = same_weights(name, 1), same_weights(name, 3)
    assert dict(grey.named_parameters()).keys() == dict(rgb.named_parameters()).keys()
    image = images()[:, :1]
    assert_equal_features(grey(image), rgb(image.repeat(1, 3, 1, 1)))


@every_backbone
@pytest.mark.parametrize("channels", [4, 6])
def test_channels_beyond_three_start_without_effect_and_can_be_trained_even_when_all_is_frozen(name: str, channels: int) -> None:
    wide, rgb = same_weights(name, channels), same_weights(name, 3)
    image = torch.cat([images(), images().flip(1)], dim=1)[:, :channels]
    with torch.no_grad():
        assert_equal_features(wide(image), rgb(image[:, :3]))
    wide.freeze(wide.info.depth)
    trained = [p for p in wide.parameters() if p.requires_grad]
    assert trained
    assert all(p.shape[1] == channels - 3 for p in trained)
    wide(image)[wide.info.layer_names[0]].square().mean().backward()
    assert all(p.grad is not None and (p.grad.abs().sum(dim=(0, 2, 3)) > 0).all() for p in trained), "each channel is read"
    with torch.no_grad():
        for p in trained:
            p += 1
    first = wide.info.layer_names[:1]
    with torch.no_grad():
        assert not torch.equal(wide(image, first)[first[0]], rgb(image[:, :3], first)[first[0]])


@every_backbone
def test_two_channels_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"in_channels must be 1 \(grey\), 3 \(RGB\) or more \(RGB and others\), but got 2"):
        backbone(name).widen(2)


@every_backbone
def test_images_with_another_number_of_channels_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"images must be \[N, 3, H, W\] for this {name}, but got \[2, 1, 32, 32\]"):
        backbone(name)(images()[:, :1])


@every_backbone
def test_the_smallest_side_is_the_smallest_that_runs(name: str) -> None:
    """In inference on real tensors, though the sides were found on torch's meta device."""
    info = BACKBONES[name]
    assert len(info.smallest_sides) == info.depth
    assert list(info.smallest_sides) == sorted(info.smallest_sides)
    assert info.smallest_sides[-1] <= 2 * info.layers[-1].stride, "what `size_problems` of discriminators counts on"
    for layer, side in zip(info.layer_names, info.smallest_sides, strict=True):
        with torch.no_grad():
            assert backbone(name)(images(1, side), [layer])[layer].numel() > 0
            if side > 1:
                message = f"images must be at least {side} px a side for layer '{layer}' of {name}, but got {side - 1} x {side}"
                with pytest.raises(ValueError, match=re.escape(message)):
                    backbone(name)(images(1, side)[:, :, 1:], [layer])


@every_backbone
@pytest.mark.parametrize("beyond", [-1, +1])
def test_a_depth_that_is_not_there_is_refused(name: str, beyond: int) -> None:
    depth = -1 if beyond < 0 else BACKBONES[name].depth + 1
    with pytest.raises(ValueError, match=rf"0 <= frozen_depth <= {BACKBONES[name].depth} must hold for {name}, but got {depth}"):
        backbone(name).freeze(depth)


@every_backbone
def test_features_do_not_depend_on_who_shares_the_batch(name: str) -> None:
    for mode in (True, False):
        backbone(name).train(mode)
        with torch.no_grad():
            alone, among = backbone(name)(images(3)[:1]), backbone(name)(images(3))
        for layer in alone:
            assert_same_up_to_summation(alone[layer], among[layer][:1])


@every_backbone
def test_an_unknown_layer_names_the_nearest(name: str) -> None:
    layer = BACKBONES[name].layer_names[-1]
    with pytest.raises(ValueError, match=f"unknown layer of {name} '{layer}x'; did you mean '{layer}'"):
        backbone(name)(images(1), [layer + "x"])


@every_backbone
def test_random_weights_follow_the_global_seed_and_layer_names_are_modules_of_the_library_network(name: str) -> None:
    info = BACKBONES[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = info.build()
        torch.manual_seed(1)
        again = load_backbone(info, "random").stages[0].state_dict()
    first, other = Backbone(info, network).stages[0].state_dict(), backbone(name).stages[0].state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert all(isinstance(network.get_submodule(layer), nn.Module) for layer in info.layer_names)


@pytest.mark.parametrize("name", [name for name, info in BACKBONES.items() if info.package])
def test_the_weights_of_a_package_are_used_thawed_and_each_caller_has_its_own(name: str) -> None:
    assert available_offline(BACKBONES[name])
    before = torch.get_rng_state()
    first, second = load_backbone(BACKBONES[name]), load_backbone(BACKBONES[name])
    assert torch.equal(torch.get_rng_state(), before), "loading must not shift the caller's random numbers"
    assert all(p.requires_grad for p in first.parameters())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(second.parameters()).abs().sum() > 0
    trained_statistics = [m.running_var for m in second.modules() if isinstance(m, nn.BatchNorm2d)]
    assert trained_statistics
    assert all((variance != 1).any() for variance in trained_statistics)
