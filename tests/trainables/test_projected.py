"""The projected discriminator with heads of the paper: its widths and depths, on any resolution, the same for any batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.closeness import assert_same_up_to_summation
from tests.contracts.test_discriminators import build, condition, images


def paper(trunk: str = "efficientnet_lite0", **options: Any) -> Any:
    return build("projected", trunk, heads="paper", **options)


def kernels_of(discriminator: Any) -> list[list[tuple[int, ...]]]:
    """[out, in, k, k] of each head's convolutions."""
    return [[tuple(x.weight.shape) for x in head.layers if isinstance(x, nn.Conv2d)] for head in discriminator.heads]


def trained(discriminator: nn.Module) -> int:
    return sum(p.numel() for p in discriminator.parameters() if p.requires_grad)


@pytest.mark.parametrize("trunk", ["efficientnet_lite0", "efficientnet_lite1", "resnet18"])
def test_widths_and_depths_are_the_papers(trunk: str) -> None:
    """Mixed maps of 64, 128, 256 and 512 channels; four heads that halve 4, 3, 2 and 1 times, to 512 channels each."""
    discriminator = paper(trunk, resolution=256)
    assert [c.out_channels for c in discriminator.channel_mixing] == [64, 128, 256, 512]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in discriminator.scale_mixing] == [
        (64, 64, (3, 3)),
        (128, 64, (3, 3)),
        (256, 128, (3, 3)),
        (512, 256, (3, 3)),
    ]
    kernels = kernels_of(discriminator)
    assert [[k[1] for k in head] for head in kernels] == [
        [64, 64, 128, 256, 512],
        [64, 128, 256, 512],
        [128, 256, 512],
        [256, 512],
    ]
    assert all(k[2:] == (4, 4) for head in kernels for k in head)
    assert all(head[-1][0] == 1 for head in kernels)
    assert trained(discriminator) == 10_325_060
    assert trained(build("projected", trunk)) == 164_612


@pytest.mark.parametrize(("side", "logits"), [(256, 4), (200, 4), (64, 1), (48, 1), (32, 1)])
def test_all_heads_give_logits_at_one_resolution(side: int, logits: int) -> None:
    discriminator = paper(resolution=side, head_channels=8, mixed_channels=8)
    assert [tuple(x.shape) for x in discriminator(images(1, side))] == [(1, 1, logits, logits)] * 4


def test_kernels_are_no_larger_than_the_maps_they_read() -> None:
    """At 32 px the four scales are 8, 4, 2 and 1 pixels a side. Larger kernels would see mostly zeros, and be weaker for it."""
    discriminator = paper(resolution=32)
    assert [[k[-1] for k in head] for head in kernels_of(discriminator)] == [[4, 4, 2, 1, 1], [4, 2, 1, 1], [2, 1, 1], [1, 1]]
    assert all(x.detach().std() > 0.02 for x in discriminator(images(8)))


@pytest.mark.parametrize("mixing", ["none", "channel", "channel+scale"])
@pytest.mark.parametrize("scales", [1, 5])
def test_any_mixing_and_number_of_scales(mixing: str, scales: int) -> None:
    discriminator = paper(mixing=mixing, scales=scales, head_channels=4, mixed_channels=8)
    assert len(discriminator(images(1, 32))) == scales
    assert kernels_of(discriminator)[-1][-1][1] == 4 * min(2 ** (scales - 1), 8)


@pytest.mark.parametrize("conditional", [False, True])
def test_gradients_reach_every_trained_parameter_and_no_logit_looks_at_its_neighbours(conditional: bool) -> None:
    discriminator = paper(head_channels=8, mixed_channels=8, conditional=conditional, condition_channels=2).eval()
    together = discriminator(images(4), condition(4))
    alone = discriminator(images(4)[1:2], condition(4)[1:2])
    for a, b in zip(alone, together, strict=True):
        assert_same_up_to_summation(a.detach(), b[1:2].detach())
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(maps.sum() for maps in discriminator(x, condition())), x, create_graph=True)
    gradient.square().sum().backward()  # second derivatives, as R1 takes them
    torch.stack([maps.square().sum() for maps in together]).sum().backward()
    for key, parameter in discriminator.named_parameters():
        assert (parameter.grad is not None) == (key.startswith(("heads.", "embedding."))), key
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, key


def test_they_tell_pictures_apart() -> None:
    """A few steps of the hinge loss on two heaps of noise, one of them smoothed."""
    discriminator = paper(head_channels=8, mixed_channels=8)
    optimizer = torch.optim.Adam([p for p in discriminator.parameters() if p.requires_grad], lr=2e-3, betas=(0.0, 0.99))
    real = nn.functional.avg_pool2d(images(16, 34), 3, 1) * 3
    pictures = torch.cat([real, images(16, seed=5)])
    for _ in range(40):
        optimizer.zero_grad()
        logits = discriminator(pictures)
        torch.stack([(1 - x[:16]).relu().mean() + (1 + x[16:]).relu().mean() for x in logits]).mean().backward()
        optimizer.step()
    assert all((x[:16] > 0).float().mean() > 0.9 and (x[16:] < 0).float().mean() > 0.9 for x in discriminator(pictures))
