"""What every entry of GENERATORS promises, by its being registered; those built on a trunk, on trunks of several kinds."""

from __future__ import annotations

import copy
import functools
from itertools import starmap
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.contracts.closeness import assert_same_up_to_summation
from trainables.backbones import BACKBONES, Backbone, load_backbone
from trainables.generators import GENERATORS, Frame
from trainables.layers.keyed_noise import keys_of
from trainables.networks import features_of

# Of strides 1, 4 (basic blocks), 4 (bottlenecks), 2 (depthwise), 2 without padding.
TRUNKS = ("vgg16", "resnet18", "resnet50", "efficientnet_lite0", "squeezenet1_1")


# What makes an entry small; of one that is not here, the defaults are taken.
SMALL: dict[str, dict[str, Any]] = {
    "stylegan2": {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 512, "channel_max": 32},
    "stylegan3": {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "num_layers": 5, "margin_size": 4},
}


class TrunkWantedError(Exception):
    pass


def options_of(name: str, **options: Any) -> Any:
    return GENERATORS[name].Options(**(SMALL.get(name, {}) | options))


def needs_trunk(name: str) -> bool:
    def refuse(channels: int) -> Backbone:
        raise TrunkWantedError

    try:
        GENERATORS[name](options_of(name), frame_for(name), refuse)
    except TrunkWantedError:
        return True
    return False


@functools.cache
def takes_noise(name: str) -> bool:
    options = options_of(name)
    return any(GENERATORS[name].unfit(options, Frame(32), BACKBONES[trunk]) is None for trunk in TRUNKS)


def frame_for(name: str, resolution: int = 32, in_channels: int = 3, out_channels: int = 3) -> Frame:
    return Frame(resolution, 0 if takes_noise(name) else in_channels, out_channels)


def fits(name: str, trunk: str, frame: Frame) -> bool:
    return GENERATORS[name].unfit(options_of(name), frame, BACKBONES[trunk]) is None


CASES = [
    (name, trunk)
    for name in GENERATORS
    for trunk in (TRUNKS if needs_trunk(name) else TRUNKS[:1])
    if fits(name, trunk, frame_for(name))
]
every_generator = pytest.mark.parametrize("name", GENERATORS)
every_case = pytest.mark.parametrize(("name", "trunk"), CASES, ids=list(starmap("{}-{}".format, CASES)))
every_noise_case = pytest.mark.parametrize(("name", "trunk"), [case for case in CASES if takes_noise(case[0])])
every_image_case = pytest.mark.parametrize(("name", "trunk"), [case for case in CASES if not takes_noise(case[0])])


@functools.cache
def backbone(trunk: str) -> Backbone:
    """Real weights where an installed package brings them, random ones elsewhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load_backbone(BACKBONES[trunk], "pretrained" if BACKBONES[trunk].package else "random")


def build(name: str, trunk: str, frame: Frame | None = None, seed: int = 0, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GENERATORS[name](
            options_of(name, **options),
            frame or frame_for(name),
            lambda channels: copy.deepcopy(backbone(trunk)).widen(channels),
        )


def latents(count: int, z_dim: int) -> Tensor:
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(1))


def images(count: int, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def inputs(generator: Any, count: int) -> Tensor:
    return latents(count, generator.z_dim) if generator.z_dim else images(count)


def loss(generator: Any, x: Tensor) -> Tensor:
    pictures = generator(x, noise="random") if generator.z_dim else generator(x)
    return (pictures * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(2))).mean()


def after_a_step(generator: Any, size: float = 1e-3) -> Any:
    """``generator`` after one step of descent: some start with an output of zero, at which the rest has no gradient."""
    loss(generator, inputs(generator, 2)).backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.grad is not None:
                parameter -= size * parameter.grad.sign()
    generator.zero_grad()
    return generator


@every_noise_case
@pytest.mark.parametrize(("resolution", "out_channels"), [(8, 3), (16, 3), (32, 1), (32, 3), (32, 4), (64, 3)])
def test_pictures_from_noise(name: str, trunk: str, resolution: int, out_channels: int) -> None:
    frame = frame_for(name, resolution, out_channels=out_channels)
    if not fits(name, trunk, frame):
        with pytest.raises(ValueError, match=f"must be .* but got {resolution}"):
            build(name, trunk, frame)
        return
    generator = build(name, trunk, frame)
    with torch.no_grad():
        pictures = generator(latents(3, generator.z_dim) * 10)
    assert pictures.shape == (3, out_channels, resolution, resolution)
    assert pictures.dtype == torch.float32
    assert pictures.isfinite().all()
    assert pictures[:, 0].std() > 1e-3
    assert not torch.allclose(pictures[0], pictures[1]), "the latent must matter"


@every_image_case
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 2), (3, 3), (4, 3)])
def test_pictures_of_any_size_from_pictures(name: str, trunk: str, in_channels: int, out_channels: int) -> None:
    generator = build(name, trunk, frame_for(name, 32, in_channels, out_channels))
    assert generator.z_dim == 0
    for height, width in ((32, 32), (33, 47), (5, 70), (1, 1)):
        x = images(2, in_channels, height, width)
        with torch.no_grad():
            first = generator(x)
            assert first.shape == (2, out_channels, height, width)
            assert first.dtype == torch.float32
            assert torch.equal(first, torch.zeros_like(first)), "a residual starts at the identity"
    generator = after_a_step(build(name, trunk))
    with torch.no_grad():
        pictures = generator(images(2, 3, 33, 47))
    assert pictures.isfinite().all()
    assert not torch.allclose(pictures[0], pictures[1]), "the input must matter"


@every_case
def test_gradients_reach_the_input_and_every_trained_parameter(name: str, trunk: str) -> None:
    generator = after_a_step(build(name, trunk))
    x = inputs(generator, 2).requires_grad_()
    loss(generator, x).backward()
    for what, tensor in [("input", x), *generator.named_parameters()]:
        if tensor.requires_grad:
            assert tensor.grad is not None, what
            assert tensor.grad.isfinite().all(), what
            assert tensor.grad.abs().sum() > 0, what
        else:
            assert tensor.grad is None, what


@every_case
def test_frozen_parameters_stay_as_they_are(name: str, trunk: str) -> None:
    if "frozen_depth" not in GENERATORS[name].Options.model_fields:
        assert all(p.requires_grad for p in build(name, trunk).parameters())
        return
    counts = []
    for depth in (0, 1, 2):
        generator = build(name, trunk, frozen_depth=depth)
        before = {key: value.clone() for key, value in generator.state_dict().items()}
        after_a_step(generator.train())
        after_a_step(generator, size=3e-3)  # another size: two steps must not cancel
        frozen = {key for key, p in generator.named_parameters() if not p.requires_grad}
        counts.append(len(frozen))
        for key, value in generator.state_dict().items():
            trained = key in dict(generator.named_parameters()) and key not in frozen
            assert torch.equal(value, before[key]) != trained, key
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2]


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_a_picture_does_not_depend_on_who_shares_the_batch(name: str, trunk: str, training: bool) -> None:
    generator = after_a_step(build(name, trunk)).train(training)
    x = inputs(generator, 5)
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    with torch.no_grad():
        assert_same_up_to_summation(generator(x[1:2]), generator(x)[1:2])
    assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items()), "a forward changes nothing"


@every_case
def test_features_are_maps_coarse_to_fine_that_the_input_decides(name: str, trunk: str) -> None:
    generator = after_a_step(build(name, trunk))
    x = inputs(generator, 3)
    with torch.no_grad():
        features, alone = features_of(generator, x), features_of(generator, x[1:2])
    assert list(features) == generator.feature_layers
    sides = [feature.shape[-1] for feature in features.values()]
    assert len(sides) > 1
    if name != "stylegan3":  # whose layers have margins, but the last
        assert sides == sorted(sides)
    for layer, feature in features.items():
        assert feature.shape[0] == 3
        assert feature.ndim == 4
        assert not torch.allclose(feature[0], feature[1])
        assert_same_up_to_summation(alone[layer], feature[1:2])
    assert not any(module._forward_hooks for module in generator.modules())


@every_noise_case
def test_one_made_of_styles_makes_its_pictures_of_them(name: str, trunk: str) -> None:
    if not hasattr(GENERATORS[name], "styles"):
        return
    generator = build(name, trunk).train()
    z = inputs(generator, 2)
    with torch.no_grad():
        for noise, keys in (("const", None), ("random", keys_of(z))):
            styles = generator.styles(z, noise=noise)
            assert styles.shape[0] == 2
            assert styles.ndim == 3
            assert torch.equal(generator.pictures(styles, keys), generator(z, noise=noise))
            other = generator.styles(z, truncation=0.5, noise=noise)
            assert torch.equal(generator.pictures(other, keys), generator(z, truncation=0.5, noise=noise))


@every_case
def test_the_seed_decides_the_parameters(name: str, trunk: str) -> None:
    first, again, other = (build(name, trunk, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_case
def test_a_state_dict_is_all_there_is(name: str, trunk: str) -> None:
    """Among others for an export, which is loaded into a generator built on a trunk of other weights."""

    def other_trunk(channels: int) -> Backbone:
        network = copy.deepcopy(backbone(trunk)).widen(channels)
        for tensor in network.state_dict().values():
            tensor.fill_(0.5)
        return network

    first = after_a_step(build(name, trunk, seed=1))
    other = GENERATORS[name](options_of(name), frame_for(name), other_trunk)
    other.load_state_dict(first.state_dict())
    x = inputs(first, 2)
    with torch.no_grad():
        assert torch.equal(first(x), other(x))


@every_generator
def test_options_name_their_component_and_refuse_unknown_keys(name: str) -> None:
    options = GENERATORS[name].Options
    assert options().name == name
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        options(z_dimm=3)
    with pytest.raises(ValidationError, match="frozen"):
        options().name = name


@every_generator
def test_what_does_not_fit_is_refused_with_the_same_words(name: str) -> None:
    generator, noise = GENERATORS[name], takes_noise(name)
    options = generator.Options()
    refused = 0
    for trunk in TRUNKS:
        for frame in (Frame(32, 3 if noise else 0), *(frame_for(name, side) for side in (2, 3, 8, 32, 33, 48))):
            problem = generator.unfit(options, frame, BACKBONES[trunk])
            if problem is None:
                continue
            refused += 1
            assert name in problem
            with pytest.raises(ValueError, match=r"but got|but the task gives") as caught:
                build(name, trunk, frame)
            assert problem == str(caught.value)
    assert refused >= 2 * len(TRUNKS)
    assert any(fits(name, trunk, frame_for(name)) for trunk in TRUNKS)


@every_case
def test_a_depth_beyond_the_trunk_is_refused(name: str, trunk: str) -> None:
    for key in {"frozen_depth", "depth"} & GENERATORS[name].Options.model_fields.keys():
        options = options_of(name, **{key: 99})
        problem = GENERATORS[name].unfit(options, frame_for(name), BACKBONES[trunk])
        assert problem is not None
        assert key in problem
        assert "99" in problem
        with pytest.raises(ValueError, match="99") as caught:
            build(name, trunk, **{key: 99})
        assert str(caught.value) == problem


@every_noise_case
def test_every_generator_from_noise_is_called_alike(name: str, trunk: str) -> None:
    """``generator(z, labels=None, *, truncation=1.0, noise="const" | "random")``; what it has not, it refuses."""
    generator = build(name, trunk).eval()
    z = latents(3, generator.z_dim)
    assert generator.c_dim == 0
    with torch.no_grad():
        plain = generator(z)
        assert torch.equal(generator(z, None, truncation=1.0, noise="const"), plain)
        assert generator(z, noise="random").shape == plain.shape
        assert torch.equal(generator(z, torch.empty(3, 0)), plain)
        with pytest.raises(ValueError, match="knows no classes, but got labels of 2"):
            generator(z, torch.eye(2)[[0, 1, 0]])
        if hasattr(generator, "synthesis"):
            mean = generator.mapping.w_avg
            mean.copy_(generator.style(z).mean(0))
            nearer = generator(z, truncation=0.5)
            assert float((nearer - nearer.mean(0)).norm()) < float((plain - plain.mean(0)).norm()), "nearer to each other"
            assert_same_up_to_summation(generator(z, truncation=0.0)[:1], generator(z, truncation=0.0)[1:2])
        else:
            with pytest.raises(ValueError, match=r"has no truncation: truncation must be 1, but got 0\.7"):
                generator(z, truncation=0.7)
