"""What every entry of BACKBONES promises, by its being registered."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.backbones import BACKBONES, Backbone, available_offline, load_backbone

every_backbone = pytest.mark.parametrize("name", BACKBONES)


@functools.cache
def backbone(name: str) -> Backbone:
    """Real weights where an installed package brings them, random ones elsewhere; shared by the tests, which leave it thawed."""
    info = BACKBONES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load_backbone(info, "pretrained" if info.package else "random")


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@every_backbone
def test_the_layers_are_what_the_entry_says(name: str) -> None:
    info = BACKBONES[name]
    assert info.name == name
    assert info.depth == len(info.layers) == len(backbone(name).stages)
    features = backbone(name)(images(side=64))
    said = {layer.name: (2, layer.channels, 64 // layer.stride, 64 // layer.stride) for layer in info.layers}
    assert {layer: tuple(x.shape) for layer, x in features.items()} == said
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
