"""Networks of torchvision and timm that have no entry: found by name, cut by watching them run."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from trainables.backbones import BACKBONES, Backbone, how_to_get, load_backbone
from trainables.backbones.chain import plan_stages


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "convnext_tiny", "squeezenet1_1"])
def test_the_entries_cut_by_hand_are_what_is_found(name: str) -> None:
    assert BACKBONES[f"torchvision/{name}"].layers == BACKBONES[name].layers


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0"])
def test_what_is_found_differs_only_at_the_ends_where_the_entry_joins_the_stem_or_leaves_out_the_head(name: str) -> None:
    found = BACKBONES[f"torchvision/{name}"].layers
    assert set(BACKBONES[name].layers[:-1]) <= set(found)


def test_the_stages_in_order_are_the_networks_own_forward() -> None:
    """timm's networks say what they compute before the pool; DenseNet concatenates, so its blocks are no chains."""
    for name in ("resnet10t", "densenet121", "mobilenetv3_small_050", "repvgg_a0", "convnext_atto"):
        info = BACKBONES[f"timm/{name}"]
        network = info.build().eval()
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, 3, 64, 64, generator=generator)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(std=0.1, generator=generator)  # some blocks start as the identity
            features = Backbone(info, network)(image * 2 - 1)  # normalises
            mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (info.mean, info.std))
            wanted = network.forward_features((image - mean) / std)  # type: ignore[operator]
        torch.testing.assert_close(features[info.layer_names[-1]], wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_a_pool_between_stages_is_kept() -> None:
    """ShuffleNet pools to stride 4 and goes on to stride 8 with nothing between."""
    info = BACKBONES["torchvision/shufflenet_v2_x0_5"]
    assert [(layer.name, layer.stride) for layer in info.layers] == [("conv1", 2), ("stage2", 8), ("stage3", 16), ("conv5", 32)]
    network = info.build().eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = network.get_submodule("conv1")(x)
        wanted = network.get_submodule("stage2")(network.get_submodule("maxpool")(wanted))
        stages = info.stages(network)
        assert torch.equal(stages[1](stages[0](x)), wanted)


def test_a_constructor_that_computes_with_tensors() -> None:
    assert [layer.stride for layer in BACKBONES["torchvision/regnet_y_400mf"].layers] == [2, 4, 8, 16, 32]


def test_finding_the_stages_shifts_no_random_numbers() -> None:
    before = torch.get_rng_state()
    plan_stages("resnet34", lambda: torchvision.models.resnet34(weights=None))
    plan_stages("regnet", lambda: torchvision.models.regnet_x_400mf(weights=None))
    assert torch.equal(torch.get_rng_state(), before)


class Shortcut(nn.Module):
    """Adds its input back, in place or not, between two of its modules; quarters the resolution, so it would be taken apart."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.in_place:
            y += x[:, :, ::2, ::2]
        else:
            y = y + x[:, :, ::2, ::2]
        return self.second(y)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_block_that_does_more_than_call_its_modules_stays_whole(in_place: bool) -> None:
    def build() -> nn.Module:
        def down() -> nn.Module:
            return nn.Conv2d(8, 8, 3, stride=2, padding=1)

        return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), down(), Shortcut(in_place=in_place), down())

    plan = plan_stages("mine", build)
    assert plan.paths == (("0",), ("1",), ("2",), ("3",))
    assert [layer.stride for layer in plan.layers] == [2, 4, 16, 32]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timm/beit_base_patch16_224", "feature maps found: none"),
        ("torchvision/swin_t", "feature maps found: none"),
        ("torchvision/maxvit_t", "it takes images of 224 px, but not of 160 px"),
        ("timm/hrnet_w18_small", "feature maps found: act1"),
    ],
)
def test_no_convolution_pyramid(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"a backbone must be a chain of convolutions .*, but {name} is not \({why}"):
        BACKBONES[name]
    assert name not in BACKBONES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet27", r"unknown timm network 'resnet27'; the nearest: .*resnet26"),
        ("timm/resnet26.nope", r"unknown timm network 'resnet26.nope'; the nearest: .*resnet26"),
        ("torchvision/vgg17", r"unknown torchvision network 'vgg17'; the nearest: .*vgg16"),
        ("torchvision/fasterrcnn_resnet50_fpn", "unknown torchvision network"),
        ("torchvision/qqqqqqqq", "unknown torchvision network 'qqqqqqqq'; the nearest: none is like it"),
        ("keras/vgg16", r"unknown backbone 'keras/vgg16'; .* vgg19, torchvision/NAME, timm/NAME"),
        ("timm/", "unknown backbone 'timm/'"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BACKBONES[name]
    assert name not in BACKBONES


def test_names_of_libraries_are_members_but_only_entries_are_listed() -> None:
    assert "timm/resnet10t" in BACKBONES
    assert "torchvision/alexnet" in BACKBONES
    assert 3 not in BACKBONES
    assert not [name for name in BACKBONES if "/" in name]
    assert len(BACKBONES) == len(list(BACKBONES))
    assert BACKBONES["timm/resnet10t"] is BACKBONES["timm/resnet10t"]


def test_each_has_its_own_input_normalisation() -> None:
    assert BACKBONES["torchvision/alexnet"].mean == BACKBONES["vgg16"].mean
    assert BACKBONES["timm/resnet10t"].std == BACKBONES["vgg16"].std
    assert BACKBONES["timm/tf_efficientnet_lite0"].mean == (0.5, 0.5, 0.5)


def test_networks_that_renormalise_in_their_forward_get_the_normalisation_they_were_trained_with() -> None:
    info = BACKBONES["torchvision/googlenet"]
    network = info.build().eval()
    network.transform_input = True  # as torchvision sets it with pretrained weights
    seen: list[Tensor] = []
    network.get_submodule("conv1").register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    image = torch.rand(1, 3, 64, 64)
    entry = BACKBONES["vgg16"]
    with torch.no_grad():
        network((image - torch.tensor(entry.mean).view(1, 3, 1, 1)) / torch.tensor(entry.std).view(1, 3, 1, 1))
        Backbone(info, network)(image * 2 - 1, info.layer_names[:1])
    torch.testing.assert_close(seen[0], seen[1])


def test_ways_to_get_the_weights() -> None:
    assert any("alexnet-owt-7be5be79.pth" in way for way in how_to_get(BACKBONES["torchvision/alexnet"]))
    assert any("timm/resnet10t.c3_in1k" in way for way in how_to_get(BACKBONES["timm/resnet10t"]))


def test_a_network_without_published_weights_says_so() -> None:
    info = BACKBONES["timm/darknet17"]
    assert not any("internet" in way for way in how_to_get(info))
    with pytest.raises(RuntimeError, match="pretrained weights of timm/darknet17 cannot be had: none are published"):
        load_backbone(info)


def test_more_channels_where_two_convolutions_read_the_image() -> None:
    info = BACKBONES["timm/repvgg_a0"]
    network = info.build()
    wide, rgb = Backbone(info, network).widen(3), load_backbone(info, "random", in_channels=5)
    assert sum(p.shape[1] == 2 for p in rgb.freeze(info.depth).parameters() if p.requires_grad) == 2
    assert wide.in_channels == 3


def test_a_trunk_whose_image_is_read_by_something_else_takes_three_channels() -> None:
    with pytest.raises(ValueError, match="timm/tresnet_m takes 1 or 3 input channels only, but got 4: a SpaceToDepth"):
        load_backbone(BACKBONES["timm/tresnet_m"], "random", in_channels=4)
