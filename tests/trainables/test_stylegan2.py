"""StyleGAN2's networks against the official networks' numbers; noise and style mixing keyed by the latent; the other forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.closeness import assert_same_up_to_summation
from tests.trainables.official import Truth, relative_error
from trainables.discriminators import stylegan2 as discriminator
from trainables.generators.frame import Frame
from trainables.generators.stylegan2 import StyleGan2Generator, StyleGan2Options

both = pytest.mark.parametrize("name", ["stylegan2", "stylegan2_conditional"])


@both
def test_styles_pictures_and_gradients_are_those_of_the_official_network(name: str) -> None:
    truth = Truth(name)
    generator = truth.stylegan2()
    z, labels = truth["z"].clone().requires_grad_(), truth["c"]
    assert relative_error(generator.mapping(z, labels), truth["w"]) < 1e-5
    images = generator(z, labels)
    assert relative_error(images, truth["images"]) < 1e-5
    assert relative_error(generator(z, labels, truncation=0.5), truth["images_truncated_0.5"]) < 1e-5
    (gradient,) = torch.autograd.grad((images * truth["probe"]).sum(), z)
    assert relative_error(gradient, truth["gradient_of_probe_by_z"]) < 1e-5


# StyleGAN3's discriminator is StyleGAN2's.
@pytest.mark.parametrize("name", ["stylegan2", "stylegan2_conditional", "stylegan3_t", "stylegan3_r"])
def test_logits_and_r1_norms_are_those_of_the_official_network(name: str) -> None:
    truth = Truth(name)
    network = truth.stylegan2_discriminator()
    # Our groups are of consecutive samples, the official ones of samples that stand two apart.
    order = torch.arange(8).view(4, 2).T.flatten()
    images = truth["images"].clamp(-1, 1).requires_grad_()
    (logits,) = network(images[order], labels=truth["c"][order])
    assert relative_error(logits.view(8, 1)[order.argsort()], truth["logits_of_clamped_images"]) < 1e-5
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert relative_error(gradient.square().sum(dim=(1, 2, 3)), truth["r1_squared_norms"]) < 1e-5


@both
def test_labels_are_asked_for_where_there_are_classes_and_refused_elsewhere(name: str) -> None:
    truth = Truth(name)
    generator, network = truth.stylegan2(), truth.stylegan2_discriminator()
    z, classes = truth["z"], truth["c"].shape[1]
    if classes:
        with pytest.raises(ValueError, match=rf"needs labels of {classes} classes, \[N, {classes}\], but got none"):
            generator(z)
        with pytest.raises(ValueError, match=rf"needs labels of {classes} classes, \[N, {classes}\], but got labels of 2"):
            generator(z, torch.eye(2)[[0] * 8])
        with pytest.raises(ValueError, match=rf"needs labels of {classes} classes"):
            network(truth["images"])
    else:
        with pytest.raises(ValueError, match="knows no classes, but got labels of 2"):
            generator(z, torch.eye(2)[[0] * 8])


def small(architecture: str = "skip", **options: Any) -> StyleGan2Generator:
    """16 px with noise of some strength; its layers see 16 channels and fewer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
        network = StyleGan2Generator(StyleGan2Options(architecture=architecture, **(shape | options)), Frame(16), None)  # type: ignore[arg-type]
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    return network


def latents(count: int, z_dim: int = 8) -> Tensor:
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(1))


def styles_of(generator: StyleGan2Generator, z: Tensor, **options: Any) -> Tensor:
    """[N, styles, w_dim] that reach the layers."""
    seen: list[Tensor] = []
    handle = generator.synthesis.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        generator(z, **options)
    handle.remove()
    return seen[0]


@torch.no_grad()
def test_random_noise_is_another_for_each_latent_and_the_same_for_one_latent_in_any_batch() -> None:
    generator, z = small(), latents(4)
    const, random = generator(z), generator(z, noise="random")
    assert torch.equal(const, generator(z))
    assert torch.equal(random, generator(z, noise="random"))
    assert (const - random).std() > 0.1 * const.std()
    assert_same_up_to_summation(generator(z[2:3], noise="random"), random[2:3])
    assert_same_up_to_summation(generator(z.flip(0), noise="random"), random.flip(0))
    # Of latents that make the same styles, as they are normalised, the noise alone is another.
    assert_same_up_to_summation(generator(2 * z), const)
    assert (generator(2 * z, noise="random") - random).std() > 0.1 * const.std()


@torch.no_grad()
def test_each_layer_has_noise_of_its_own() -> None:
    """With all else zero, what a layer passes on is its noise."""
    generator = small()
    made: dict[str, Tensor] = {}
    for name, module in generator.synthesis.named_modules():
        if hasattr(module, "noise_strength"):
            module.bias.fill_(0.0)
            module.weight.fill_(0.0)
            module.register_forward_hook(lambda _, args, x, name=name: made.__setitem__(name, x))
    generator(latents(2), noise="random")
    assert made.keys() == {"b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"}
    assert all((x[0] != x[1]).all() for x in made.values()), "each sample its own"
    for first, second in (("b8.conv0", "b8.conv1"), ("b16.conv0", "b16.conv1")):
        assert (made[first][:, 0] != made[second][:, 0]).all()


def test_style_mixing_is_for_training_with_random_noise() -> None:
    generator, z = small(style_mixing=1.0), latents(3)
    plain = styles_of(generator.eval(), z, noise="random")
    assert torch.equal(plain, generator.mapping(z)[:, None].expand_as(plain))
    assert torch.equal(styles_of(generator.train(), z, noise="const"), plain)
    assert not torch.equal(styles_of(generator.train(), z, noise="random"), plain)
    without = small(style_mixing=0.0).train()
    assert torch.equal(styles_of(without, z, noise="random"), plain)


def test_style_mixing_takes_the_styles_of_another_latent_from_a_layer_on() -> None:
    """With the probability asked for, from each layer but the first equally often; the same for a latent in any batch."""
    generator, z = small(style_mixing=0.5).train(), latents(4000)
    mixed = styles_of(generator, z, noise="random")
    own = generator.mapping(z).detach()[:, None]
    first = mixed.shape[1] - (mixed != own).any(dim=2).sum(dim=1)
    for place in range(mixed.shape[1]):
        assert torch.equal((mixed[:, place] == own[:, 0]).all(dim=1), place < first), "its own up to a layer, then never again"
    count = mixed.shape[1]
    share = (first[:, None] == torch.arange(1, count + 1)).float().mean(dim=0)
    expected = torch.tensor([0.5 / (count - 1)] * (count - 1) + [0.5])
    assert (share - expected).abs().max() < 0.03, "four standard deviations of a share of 4000"
    assert (first > 0).all()
    beyond = mixed[first < count][:, -1]
    assert (beyond[1:] != beyond[:-1]).any(dim=1).all(), "each its own other latent"
    # A matrix product rounds by the number of its rows; another mixture would differ by whole units.
    torch.testing.assert_close(styles_of(generator, z[7:9], noise="random"), mixed[7:9])


def test_truncation_draws_styles_to_their_mean() -> None:
    generator, z = small(), latents(3)
    generator.mapping.w_avg.copy_(torch.arange(8.0))
    with torch.no_grad():
        w, mean = generator.mapping(z), generator.mapping.w_avg
        assert torch.allclose(generator.mapping(z, truncation=0.25), mean + 0.25 * (w - mean), atol=1e-5)
        pictures = generator(z, truncation=0.0)
    assert_same_up_to_summation(pictures[:1].expand(3, -1, -1, -1), pictures)


def test_both_forms_of_the_generator_make_pictures_and_differ() -> None:
    skip, resnet = small("skip"), small("resnet")
    names = [{key.removeprefix("synthesis.") for key in network.state_dict()} for network in (skip, resnet)]
    assert "b8.torgb.weight" in names[0] - names[1]
    assert "b8.skip.weight" in names[1] - names[0]
    assert "b16.torgb.weight" in names[0] & names[1]
    with torch.no_grad():
        pictures = [network(latents(2)) for network in (skip, resnet)]
    assert pictures[0].shape == pictures[1].shape == (2, 3, 16, 16)
    assert not torch.allclose(pictures[0], pictures[1], atol=0.1)


def test_both_forms_of_the_discriminator_judge_and_differ() -> None:
    logits, names = [], []
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    for architecture in ("resnet", "skip"):
        options = discriminator.StyleGan2Options(channel_base=128, channel_max=16, architecture=architecture)
        network = discriminator.StyleGan2Discriminator(options, None, 0, 16)  # type: ignore[arg-type]
        names.append(set(network.state_dict()))
        logits.append(network(images)[0])
    assert "b8.fromrgb.weight" in names[1] - names[0]
    assert "b8.skip.weight" in names[0] - names[1]
    assert logits[0].shape == logits[1].shape == (4, 1, 1, 1)
    assert not torch.allclose(logits[0], logits[1])


def test_activations_stay_within_the_clamp() -> None:
    generator, z = small(clamp=2.0), latents(2)
    for parameter in generator.parameters():
        parameter.data.mul_(50)
    largest: list[float] = []
    for module in generator.synthesis.modules():
        if hasattr(module, "affine"):
            module.register_forward_hook(lambda _, args, x: largest.append(float(x.abs().max())))
    with torch.no_grad():
        generator(z, noise="random")
    assert len(largest) == 5 + 3
    assert max(largest) == 2.0


def test_second_derivatives() -> None:
    """As path-length regularisation takes them of G, and R1 of D."""
    torch.manual_seed(0)
    generator = small("resnet", z_dim=4).double()
    z = latents(2, 4).double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: generator(z), z, fast_mode=True)
    options = discriminator.StyleGan2Options(channel_base=32, channel_max=4, mbstd_group=2)
    network = discriminator.StyleGan2Discriminator(options, None, 0, 8).double()  # type: ignore[arg-type]
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: network(x)[0], images, fast_mode=True)
