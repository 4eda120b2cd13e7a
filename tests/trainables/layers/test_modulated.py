"""Modulated convolution that scales activations against the form that has a kernel for each sample (the benchmark's)."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.benchmarks import modulated_conv as benchmark
from trainables.generators import GENERATORS, Frame
from trainables.layers.modulated import ModulatedConv


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
@pytest.mark.parametrize("adapt", ["full", "scale_shift", "lora", "kernel_modulation"])
@pytest.mark.parametrize("noise", ["const", "random"])
def test_scaling_activations_gives_what_kernels_for_each_sample_give(architecture: str, adapt: str, noise: str) -> None:
    """Pictures and all gradients, where every parameter counts and the clamp holds some activations."""
    options = GENERATORS["stylegan2"].Options(
        z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=6, clamp=2.0, architecture=architecture, adapt=adapt
    )
    torch.manual_seed(3)
    ours = GENERATORS["stylegan2"](options, Frame(16), pytest.fail).double().requires_grad_(True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    other = benchmark.with_kernels(copy.deepcopy(ours))
    assert not any(type(module) is ModulatedConv for module in other.modules())
    z, weights = torch.randn(3, 6).double(), torch.randn(3, 3, 16, 16).double()
    found = []
    for generator in (ours, other):
        pictures = generator(z, noise=noise)
        found.append([pictures, *torch.autograd.grad((pictures * weights).sum(), list(generator.parameters()))])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


def test_the_benchmark_sees_a_difference_and_times_both_forms() -> None:
    config, cpu = benchmark.config_of(16, 4, channel_base=64), torch.device("cpu")
    trainers = {name: benchmark.trainer_of(config, cpu) for name in (benchmark.OURS, benchmark.OTHER)}
    ours, other = trainers[benchmark.OURS].generator, benchmark.with_kernels(trainers[benchmark.OTHER].generator)
    z = torch.randn(3, trainers[benchmark.OURS].z_dim, generator=torch.Generator().manual_seed(1))
    assert benchmark.difference(ours, other, z) < benchmark.TOLERANCE
    changed = copy.deepcopy(other)
    with torch.no_grad():
        changed.synthesis.b8.conv0.noise_strength += 0.1
    assert benchmark.difference(ours, changed, z) > benchmark.TOLERANCE
    found = benchmark.compare(trainers, 1, cpu)
    assert list(found) == ["D's step", "G's step", "both"]
    for first, second, ratio in found.values():
        assert ratio == second / first > 0
    assert found["both"][0] == pytest.approx(found["D's step"][0] + found["G's step"][0])
