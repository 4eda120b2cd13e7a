"""What every entry of DISCRIMINATORS promises, by its being registered, on two kinds of trunk."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.backbones import BACKBONES, load_backbone
from trainables.discriminators import DISCRIMINATORS, in_trunk

TRUNKS = ["efficientnet_lite0", "resnet18"]
SMALL: dict[str, dict[str, Any]] = {
    "trunk": {"head_channels": 8, "frozen_depth": 2},
    "projected": {"head_channels": 8, "mixed_channels": 16},
    "patch": {"channels": 8, "layers": 2},
    "stylegan2": {"channel_base": 256, "channel_max": 16, "mbstd_group": 2},
}
SMALL["ensemble"] = {"members": [{"name": name} | SMALL[name] for name in ("patch", "trunk", "projected", "stylegan2")]}
every_discriminator = pytest.mark.parametrize("name", DISCRIMINATORS)
on_every_trunk = pytest.mark.parametrize("trunk", TRUNKS)
on_a_trunk = pytest.mark.parametrize("name", ["trunk", "projected"])


@functools.cache
def pristine(trunk: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return load_backbone(BACKBONES[trunk], "pretrained" if BACKBONES[trunk].package else "random")


def build(
    name: str,
    trunk: str = "efficientnet_lite0",
    seed: int = 0,
    condition_channels: int = 0,
    resolution: int = 32,
    **options: Any,
) -> Any:
    asked = []

    def fresh(channels: int) -> Any:
        asked.append(channels)
        return copy.deepcopy(pristine(trunk))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = DISCRIMINATORS[name](DISCRIMINATORS[name].Options(**options), fresh, condition_channels, resolution)
    assert set(asked) <= {3}, "a trunk reads images alone"
    return built


def small(name: str, trunk: str = "efficientnet_lite0", seed: int = 0, conditional: bool = False) -> Any:
    """A small one of each kind; conditional ones see 2 channels, and every member of an ensemble is one."""
    options = SMALL[name] | {"conditional": True} if conditional else SMALL[name]
    if name == "ensemble":
        options = {"members": [member | {"conditional": conditional} for member in SMALL[name]["members"]]}
    return build(name, trunk, seed, 2, 32, **options)


def images(count: int = 2, side: int = 32, channels: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def condition(count: int = 2, side: int = 32, seed: int = 2) -> Tensor:
    return images(count, side, 2, seed)


@every_discriminator
@on_every_trunk
@pytest.mark.parametrize("conditional", [False, True])
def test_gradients_reach_the_images_and_every_trainable_parameter_and_no_other(name: str, trunk: str, conditional: bool) -> None:
    discriminator = small(name, trunk, conditional=conditional)
    x = images().requires_grad_()
    logits = discriminator(x, condition())
    assert all(maps.shape[:2] == (2, 1) and maps.isfinite().all() for maps in logits)
    sum(maps.sum() for maps in logits).backward()
    assert x.grad is not None
    assert all(gradient.abs().sum() > 0 for gradient in x.grad)
    trainable = {key for key, p in discriminator.named_parameters() if p.requires_grad}
    assert any(not in_trunk(key) for key in trainable)
    for key, parameter in discriminator.named_parameters():
        assert (parameter.grad is not None) == (key in trainable), key


@every_discriminator
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("conditional", [False, True])
def test_logits_do_not_depend_on_who_shares_the_batch(name: str, training: bool, conditional: bool) -> None:
    """But for its own group. In training, spectral normalisation moves its vectors with every forward, so each batch gets a
    discriminator of its own."""
    group = small(name).group
    rows, count = slice(group, 2 * group), 4 * group
    with torch.no_grad():
        alone = small(name, conditional=conditional).train(training)(images(count)[rows], condition(count)[rows])
        among = small(name, conditional=conditional).train(training)(images(count), condition(count))
    for a, b in zip(alone, among, strict=True):
        assert_same_up_to_summation(a, b[rows])


@every_discriminator
def test_the_mean_gradient_of_two_shares_is_that_of_the_batch(name: str) -> None:
    """What data parallelism asks of D: workers start a step with the same state, and average."""

    def gradients(rows: slice) -> dict[str, Tensor]:
        discriminator = small(name, conditional=True)
        logits = discriminator(images(4)[rows], condition(4)[rows])
        torch.stack([maps.square().mean() for maps in logits]).sum().backward()
        return {key: p.grad for key, p in discriminator.named_parameters() if p.grad is not None}

    whole, first, second = (gradients(rows) for rows in (slice(0, 4), slice(0, 2), slice(2, 4)))
    for key, gradient in whole.items():
        torch.testing.assert_close((first[key] + second[key]) / 2, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


@every_discriminator
def test_a_conditional_one_sees_the_condition_and_no_other_does(name: str) -> None:
    for conditional in (True, False):
        discriminator = small(name, conditional=conditional).eval()
        one, other = discriminator(images(), condition()), discriminator(images(), condition(seed=3))
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b) != conditional
    unconditional = discriminator(images())
    assert all(torch.equal(a, b) for a, b in zip(unconditional, one, strict=True))


@every_discriminator
def test_a_conditional_one_needs_a_condition(name: str) -> None:
    with pytest.raises(ValueError, match="needs the condition of each image, but got None"):
        small(name, conditional=True)(images())
    options = {"conditional": True}
    if name == "ensemble":
        options = {"members": [{"name": "patch"}, {"name": "patch", "conditional": True}]}
    with pytest.raises(ValueError, match="conditional must be false where G makes images from noise"):
        build(name, **options)
    info = BACKBONES["resnet18"]
    key = "members.1.conditional" if name == "ensemble" else "conditional"
    unfit = DISCRIMINATORS[name].unfit
    made = DISCRIMINATORS[name].Options(**options)
    assert [problem[0] for problem in unfit(made, info, 64)] == [key]
    assert unfit(made, info, 64, condition_channels=1) == []


@every_discriminator
def test_it_knows_how_many_heads_it_has(name: str) -> None:
    discriminator = small(name)
    assert discriminator.head_count == len(discriminator(images()))
    assert sum(discriminator.balance.heads) == (discriminator.head_count if name == "ensemble" else 0)


@every_discriminator
def test_second_derivatives_exist(name: str) -> None:
    """What R1 needs."""
    x = images().requires_grad_()
    discriminator = small(name, conditional=True)
    logits = sum(maps.sum() for maps in discriminator(x, condition()))
    (gradient,) = torch.autograd.grad(logits, x, create_graph=True)
    gradient.square().sum().backward()
    second = [p.grad for p in discriminator.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in second)
    assert any(grad.abs().sum() > 0 for grad in second)


@every_discriminator
def test_the_seed_decides_all_but_the_trunk(name: str) -> None:
    first, again, other = (small(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(torch.equal(first[key], other[key]) for key in first if in_trunk(key))
    assert any(not torch.equal(first[key], other[key]) for key in first if not in_trunk(key))


@every_discriminator
def test_a_state_dict_goes_back(name: str) -> None:
    trained, fresh = small(name, seed=1, conditional=True), small(name, seed=2, conditional=True)
    trained(images(), condition())
    fresh.load_state_dict(copy.deepcopy(trained.state_dict()))
    for a, b in zip(trained(images(), condition()), fresh(images(), condition()), strict=True):
        assert torch.equal(a, b)


@every_discriminator
def test_options_name_their_component_and_refuse_unknown_keys(name: str) -> None:
    options = DISCRIMINATORS[name].Options
    assert options().name == name
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options(colour=3)


@every_discriminator
def test_default_options_fit(name: str) -> None:
    cls = DISCRIMINATORS[name]
    for trunk in TRUNKS:
        assert cls.unfit(cls.Options(), BACKBONES[trunk], 32) == []
        built = build(name, trunk)
        assert built(images(2 * built.group))


@on_a_trunk
@on_every_trunk
@pytest.mark.parametrize("scales", [1, 4])
@pytest.mark.parametrize("conditional", [False, True])
def test_each_scale_gives_a_map_of_logits(name: str, trunk: str, scales: int, conditional: bool) -> None:
    discriminator = build(name, trunk, condition_channels=2, scales=scales, head_channels=8, conditional=conditional)
    logits = discriminator(images(3, 64), condition(3, 64))
    strides = [layer.stride for layer in BACKBONES[trunk].layers[-scales:]]
    assert [tuple(x.shape) for x in logits] == [(3, 1, 64 // stride, 64 // stride) for stride in strides]


@on_a_trunk
def test_input_px_resizes_before_the_trunk(name: str) -> None:
    logits = build(name, scales=1, input_px=64)(images(1, 32))
    assert logits[0].shape == (1, 1, 2, 2)


@on_a_trunk
def test_more_scales_than_stages_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"scales must be <= 5, the stages of efficientnet_lite0, but got 6"):
        build(name, scales=6)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        build(name, scales=0)


@on_a_trunk
def test_images_too_small_for_the_trunk_are_refused_before_anything_is_built(name: str) -> None:
    cls, info = DISCRIMINATORS[name], BACKBONES["vgg16"]
    smallest = info.smallest_sides[-1]
    assert cls.unfit(cls.Options(), info, smallest) == []
    expected = f"must be >= {smallest} for vgg16, but images come with 8"
    assert cls.unfit(cls.Options(), info, 8) == [("input_px", expected)]
    assert cls.unfit(cls.Options(input_px=smallest), info, 8) == []
    assert cls.unfit(cls.Options(input_px=8), info, 64) == [("input_px", expected)]


@pytest.mark.parametrize("depth", range(6))
def test_the_trunk_is_frozen_to_the_depth_asked_for(depth: int) -> None:
    stages = build("trunk", frozen_depth=depth).backbone.stages
    assert [all(p.requires_grad for p in stage.parameters()) for stage in stages] == [index >= depth for index in range(5)]


def test_all_that_does_not_fit_the_trunk_is_said_at_once() -> None:
    message = r"frozen_depth must be <= 5, the stages of efficientnet_lite0, but got 6; scales must be <= 5, .* but got 7"
    with pytest.raises(ValueError, match=message):
        build("trunk", frozen_depth=6, scales=7)


def test_features_are_those_of_the_trunk_that_is_trained() -> None:
    """At the start, what the pretrained network gives for the layers that the heads read."""
    wanted = pristine("efficientnet_lite0")(images(), ("blocks.4", "blocks.6"))
    for options in ({}, {"conditional": True, "condition_channels": 1}):
        got = build("trunk", scales=2, **options).features(images())
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[key], wanted[key]) for key in wanted)
    assert build("stylegan2").features(images()).keys() == {"b32", "b16", "b8"}
    conditional = build("stylegan2", conditional=True, condition_channels=2)
    seen = [conditional.features(images(), condition(seed=seed))["b8"] for seed in (1, 2)]
    assert not torch.allclose(*seen)
    members = [{"name": "patch"}, {"name": "trunk", "scales": 2}, {"name": "projected"}]
    assert build("ensemble", members=members).features(images()).keys() == {"1.blocks.4", "1.blocks.6"}
    assert build("projected").features(images()) == build("patch").features(images()) == {}


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

    def logits(shallow: Tensor, deep: Tensor) -> list[Tensor]:
        by_layer = dict(zip(discriminator.layers, (shallow, deep), strict=True))
        discriminator.backbone.forward = lambda *_: by_layer
        return discriminator(images(1, 64))

    before = logits(shallow, deep)
    assert torch.equal(logits(shallow * 2, deep)[1], before[1])
    assert not torch.equal(logits(shallow, deep * 2)[0], before[0])


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_of_patch_gan_sees_the_patch_of_the_paper(layers: int, patch: int) -> None:
    x = images(1, 128).requires_grad_()
    (logits,) = build("patch", layers=layers, channels=4)(x)
    assert logits.shape[-2:] == (128 // 2**layers - 2,) * 2
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    seen = gradient[0].abs().sum(0) > 0
    assert [int(seen.any(axis).sum()) for axis in (0, 1)] == [patch, patch]


def test_patch_gan_refuses_images_that_are_too_small() -> None:
    cls = DISCRIMINATORS["patch"]
    build("patch")(images(side=24))
    with pytest.raises(ValueError, match=r"images must be at least 24 px a side, but are \(23, 23\)"):
        build("patch")(images(side=23))
    info = BACKBONES["resnet18"]
    assert cls.unfit(cls.Options(), info, 24) == []
    assert cls.unfit(cls.Options(), info, 16) == [("layers", "of 3 need images of at least 24 px, but resolution is 16")]


def test_an_ensemble_is_its_members_one_after_the_other() -> None:
    ensemble = small("ensemble").eval()
    got = ensemble(images())
    wanted = [logits for member in ensemble.members for logits in member(images())]
    assert len(got) == 1 + 3 + 4 + 1
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    trunks = [member.backbone for member in ensemble.members if hasattr(member, "backbone")]
    assert trunks[0] is not trunks[1], "freezing one leaves the other trained"


def test_an_ensemble_says_whose_option_is_wrong() -> None:
    cls = DISCRIMINATORS["ensemble"]
    options = cls.Options(members=[{"name": "patch", "layers": 5}, {"name": "trunk", "scales": 9}])
    problems = cls.unfit(options, BACKBONES["resnet18"], 32)
    assert [key for key, _ in problems] == ["members.0.layers", "members.1.scales"]
    assert not options.conditional
    assert cls.Options(members=[{"name": "patch"}, {"name": "patch", "conditional": True}]).conditional
    with pytest.raises(ValidationError, match="at least 2 items"):
        cls.Options(members=[{"name": "patch"}])
    with pytest.raises(ValidationError, match="'ensemble' found using 'name' does not match"):
        cls.Options(members=[{"name": "patch"}, {"name": "ensemble"}])
