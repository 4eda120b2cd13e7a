"""The trunk turned round: its kernels are the trunk's, its convolutions the adjoints, and the start helps."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import real_weights
from tests.benchmarks.inverted_start import emoji, invert_features
from trainables.backbones import BACKBONES, Backbone, load_backbone
from trainables.generators import GENERATORS, Frame
from trainables.generators.inverted_stage import InvertedBlock, InvertedConv, InvertedStage
from trainables.optim import OptimizerOptions, build_optimizer


@functools.cache
def backbone(name: str) -> Backbone:
    """Random weights; BatchNorm statistics and gains that are not the trivial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = load_backbone(BACKBONES[name], "random")
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return network


def generator(name: str, resolution: int = 32, out_channels: int = 3, **options: int) -> nn.Module:
    made: nn.Module = GENERATORS["inverted_trunk"](
        GENERATORS["inverted_trunk"].Options(**options), Frame(resolution, out_channels=out_channels), lambda _: backbone(name)
    )
    return made


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel_side", [1, 3, 7])
def test_a_convolution_becomes_its_adjoint(kernel_side: int) -> None:
    """<W x, y> = <x, Wᵀ y>, the definition."""
    convolution = nn.Conv2d(5, 7, kernel_side, padding=kernel_side // 2, bias=False).double()
    inverse = InvertedConv(convolution, None, style_dim=3).double()
    assert torch.equal(inverse.convolution.weight, convolution.weight)
    x, y = random(2, 5, 9, 8), random(2, 7, 9, 8, seed=1)
    torch.testing.assert_close((convolution(x) * y).sum(), (x * inverse.convolution(y)).sum())


def test_a_batch_norm_is_folded_into_the_adjoint() -> None:
    convolution, norm = nn.Conv2d(5, 7, 3, padding=1, bias=False).double(), nn.BatchNorm2d(7).double().eval()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.uniform_(norm.bias)
    nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    inverse = InvertedConv(convolution, norm, style_dim=3).double()
    x, y = random(2, 5, 9, 8), random(2, 7, 9, 8, seed=1)
    linear = norm(convolution(x)) - norm(convolution(torch.zeros_like(x)))
    # float32 is the precision in which the inverse was built
    torch.testing.assert_close((linear * y).sum(), (x * inverse.convolution(y)).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "resolution", "used"), [("vgg16", 8, 2), ("vgg16", 64, 5), ("resnet18", 16, 1), ("resnet50", 32, 2)]
)
def test_each_stage_leads_from_the_features_of_the_trunks_stage_back_to_those_before(
    name: str, resolution: int, used: int
) -> None:
    made, info = generator(name, resolution), BACKBONES[name]
    assert len(made.stages) == used  # type: ignore[arg-type]
    style = torch.zeros(1, made.z_dim)  # type: ignore[call-overload]
    before = (3, resolution)
    for stage, layer in zip(made.stages, info.layers, strict=False):  # type: ignore[arg-type]
        side = resolution // layer.stride
        assert isinstance(stage, InvertedStage)
        assert stage(torch.rand(1, layer.channels, side, side), style).shape == (1, before[0], before[1], before[1])
        before = (layer.channels, side)
    assert made.stem.out_channels == before[0]  # type: ignore[union-attr]


def test_the_kernels_of_vgg_are_copied_and_reported() -> None:
    made = generator("vgg16")
    own = [m for stage in backbone("vgg16").stages[:4] for m in stage.modules() if isinstance(m, nn.Conv2d)]
    inverse = [c for stage in made.stages for c in reversed([m for m in stage.modules() if isinstance(m, InvertedConv)])]  # type: ignore[union-attr]
    assert len(own) == len(inverse) == 10
    for convolution, turned in list(zip(own, inverse, strict=True))[1:]:
        assert torch.equal(convolution.weight, turned.convolution.weight)
    ratio = inverse[0].convolution.weight / own[0].weight
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))  # the image's kernel is the trunk's, rescaled
    report = made.start_report
    parameters = dict(made.named_parameters())
    assert sorted(report.copied + report.adapted + report.new) == sorted(parameters)
    assert (len(report.copied), len(report.adapted)) == (9, 1)
    given = sum(parameters[name].numel() for name in report.copied + report.adapted)
    assert report.pretrained_share == given / sum(p.numel() for p in parameters.values())  # type: ignore[union-attr]
    assert "9 parameters copied from the trunk, 1 adapted" in str(report)


def test_the_kernels_of_resnet_are_adapted_as_its_batch_norms_are_folded_in() -> None:
    report = generator("resnet18").start_report
    assert report.copied == ()  # type: ignore[union-attr]
    assert len(report.adapted) == 1 + 4 + 5  # type: ignore[union-attr, arg-type]


def test_grey_is_the_mean_of_the_colours_and_a_fourth_channel_starts_at_mid_grey() -> None:
    z = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    made = {}
    for channels in (1, 3, 4):
        torch.manual_seed(0)
        made[channels] = generator("resnet18", out_channels=channels)
    with torch.no_grad():
        grey, colours, more = (torch.atanh(made[channels](z)) for channels in (1, 3, 4))
    correlation = torch.corrcoef(torch.stack([grey.flatten(), colours.mean(dim=1).flatten()]))[0, 1]
    assert correlation > 1 - 1e-4
    assert more[:, 3].abs().max() == 0
    assert more[:, :3].std() > 0


def test_frozen_depth_counts_from_the_image_and_leaves_biases_and_modulations() -> None:
    made = generator("vgg16", frozen_depth=2)
    frozen = {name for name, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        name
        for name in dict(made.named_parameters())
        if name.startswith(("stages.0.", "stages.1.")) and name.endswith("convolution.weight")
    }
    assert len(frozen) == 4


def test_a_block_of_other_modules_is_refused() -> None:
    with pytest.raises(ValueError, match="made of the modules of torchvision's VGG and ResNet, but got Hardswish"):
        InvertedStage(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Hardswish()), 8)
    info = BACKBONES["timm/resnet18"]
    assert "needs a VGG or ResNet of torchvision, but got timm/resnet18" in GENERATORS["inverted_trunk"].unfit(
        GENERATORS["inverted_trunk"].Options(), Frame(32), info
    )


def test_a_residual_block_keeps_the_scale_of_its_shortcut() -> None:
    block = InvertedBlock(backbone("resnet18").stages[0][-1][1], style_dim=8)  # type: ignore[index]
    with torch.no_grad():
        for convolution in block.chain:
            convolution.convolution.weight.zero_()  # type: ignore[union-attr, operator]
        out = block(torch.randn(2, 64, 8, 8) * 100, torch.zeros(2, 8))
    torch.testing.assert_close(out.square().mean(dim=1), torch.ones(2, 8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pretrained_start_decodes_real_features_better_than_the_random_one(tmp_path: Path, seed: int) -> None:
    """At the step size that is best for both starts (of 1e-4, 3e-4, 1e-3), after 10 steps; measured: 8 to 18 % lower errors."""
    vgg, images = real_weights.vgg16_file(tmp_path), emoji(tmp_path)
    pretrained, random_start = (
        invert_features(images, vgg, start, 10, seed=seed, lr=1e-4, every=10)[-1] for start in (str(vgg), "random")
    )
    assert pretrained.trained < 0.95 * random_start.trained
    assert pretrained.held_out < 0.95 * random_start.held_out


@pytest.mark.parametrize("frozen_depth", [0, 1])
def test_the_trunk_s_kernels_learn_at_the_rate_of_a_trunk(frozen_depth: int) -> None:
    made = generator("resnet18", frozen_depth=frozen_depth)
    others, trunk = build_optimizer(made, 1e-2, OptimizerOptions(trunk_lr_multiplier=0.1)).param_groups
    assert (others["lr"], trunk["lr"]) == (pytest.approx(1e-2), pytest.approx(1e-3))
    kernels = [m.convolution.weight for m in made.modules() if isinstance(m, InvertedConv)]
    assert {id(p) for p in trunk["params"]} == {id(p) for p in kernels if p.requires_grad}
    assert len(trunk["params"]) < len(kernels) or frozen_depth == 0
    assert {id(p) for p in others["params"]} == {id(p) for p in made.parameters()} - {id(p) for p in kernels}
