"""timm's transformers as backbones: their own forward, for images of any size; what can be made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.trainables.small import small_config
from trainables.backbones import BACKBONES, Backbone, WeightsNotFoundError, available_offline, how_to_get, load_backbone
from trainables.data import ImageDataset
from trainables.discriminators import DISCRIMINATORS
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.metrics.features import Extractor
from trainables.metrics.names import parse_metric

# One of each form that the families have.
FORMS = {
    "class token": "timm/test_vit",
    "register, no norm at the end": "timm/test_vit2",
    "two class tokens": "timm/deit_tiny_distilled_patch16_224",
    "norm before the blocks": "timm/vit_xsmall_patch16_clip_224",
    "rotary embeddings": "timm/vit_small_patch16_dinov3",
    "rotary embeddings of each block": "timm/vit_small_patch16_rope_mixed_224",
    "windows": "timm/swin_tiny_patch4_window7_224",
    "windows, cosine attention": "timm/swinv2_tiny_window8_256",
}
every_form = pytest.mark.parametrize("name", FORMS.values(), ids=FORMS)
SMALL = ("timm/test_vit", "timm/swin_tiny_patch4_window7_224")

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def image(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def as_map(network: Any, output: Tensor, like: Tensor) -> Tensor:
    """What a network's ``forward_features`` gives, as a feature map."""
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2)
    return output[:, network.num_prefix_tokens :].transpose(1, 2).reshape(like.shape)


@every_form
@torch.no_grad()
def test_the_stages_in_order_are_the_networks_own_forward(name: str) -> None:
    """Of an image that is no multiple of the patches and not square; layers on the way are timm's own intermediates."""
    info = BACKBONES[name]
    network: Any = info.build().eval()
    backbone = Backbone(info, network)
    x = image(75, 50)
    features = list(backbone(x).values())
    assert torch.equal(features[-1], as_map(network, network.forward_features(backbone._normalised(x)), features[-1]))
    between = network.forward_intermediates(backbone._normalised(x), intermediates_only=True)
    places = [[info["module"] for info in network.feature_info].index(layer) for layer in info.layer_names[:-1]]
    assert all(torch.equal(mine, between[place]) for mine, place in zip(features, places, strict=False))


@pytest.mark.parametrize("name", [*SMALL, "timm/vit_small_patch16_dinov3"])
@torch.no_grad()
def test_at_its_own_size_it_is_timms_network_as_it_is_published(name: str) -> None:
    """With fused attention and position embeddings as they are."""
    info = BACKBONES[name]
    backbone = load_backbone(info, "random")
    published: Any = timm.create_model(name.removeprefix("timm/")).eval()
    given, own = info.build().state_dict(), published.state_dict()
    assert {key for key in own if key not in given} <= {key for key in own if key.endswith(("attn_mask", "num_batches_tracked"))}
    network = info.build().eval()
    network.load_state_dict({key: value for key, value in own.items() if key in given})
    backbone = Backbone(info, network)
    x = image(*published.patch_embed.img_size)
    last = list(backbone(x).values())[-1]
    wanted = as_map(published, published.forward_features(backbone._normalised(x)), last)
    torch.testing.assert_close(last, wanted, rtol=1e-4, atol=1e-4)


@every_form
def test_each_parameter_is_in_one_stage_and_all_are_used(name: str) -> None:
    """So freezing a stage freezes nothing of another."""
    backbone = load_backbone(BACKBONES[name], "random")
    owners = [{id(p) for p in stage.parameters()} for stage in backbone.stages]
    assert sum(map(len, owners)) == len(set().union(*owners))
    sum(x.square().mean() for x in backbone(image(48, 32)).values()).backward()  # type: ignore[union-attr]
    unused = [key for key, p in backbone.named_parameters() if p.grad is None]
    assert not unused


@pytest.mark.parametrize(
    ("name", "layers", "stride", "normalisation"),
    [
        ("vit_small_patch14_dinov2.lvd142m", ("blocks.2", "blocks.5", "blocks.8", "norm"), 14, IMAGENET),
        ("vit_small_patch14_reg4_dinov2.lvd142m", ("blocks.2", "blocks.5", "blocks.8", "norm"), 14, IMAGENET),
        ("vit_large_patch14_dinov2.lvd142m", ("blocks.5", "blocks.11", "blocks.17", "norm"), 14, IMAGENET),
        ("vit_small_patch16_224.dino", ("blocks.2", "blocks.5", "blocks.8", "norm"), 16, IMAGENET),
        ("vit_small_patch16_dinov3.lvd1689m", ("blocks.2", "blocks.5", "blocks.8", "norm"), 16, IMAGENET),
        ("vit_base_patch16_clip_224.openai", ("blocks.2", "blocks.5", "blocks.8", "norm"), 16, CLIP),
        ("swin_tiny_patch4_window7_224.ms_in1k", ("layers.0", "layers.1", "layers.2", "norm"), 32, IMAGENET),
    ],
)
def test_published_transformers(name: str, layers: tuple[str, ...], stride: int, normalisation: Any) -> None:
    info = BACKBONES[f"timm/{name}"]
    assert info.layer_names == layers
    assert info.layers[-1].stride == stride
    assert (info.mean, info.std) == normalisation
    assert info.hub_repo == f"timm/{name}"
    assert info.smallest_sides == (1, 1, 1, 1)
    metric = f"fid[timm/{name},224px-bicubic,n=500]"
    assert str(parse_metric(metric, BACKBONES)) == metric


def test_what_cannot_be_had_names_every_way() -> None:
    def refuse() -> dict[str, Tensor]:
        raise OSError("no route to host")

    info = dataclasses.replace(BACKBONES["timm/vit_small_patch14_dinov2.lvd142m"], download=refuse, hub_repo="nobody/nothing")
    assert not available_offline(info)
    with pytest.raises(WeightsNotFoundError, match=r"dinov2.lvd142m cannot be had: the download failed: no route") as caught:
        load_backbone(info)
    assert all(way in str(caught.value) for way in how_to_get(info))
    assert "model.safetensors of timm/vit_small_patch14_dinov2.lvd142m" in str(how_to_get(BACKBONES[info.name]))


@pytest.mark.parametrize("name", SMALL)
def test_weights_from_a_file_of_the_whole_network(name: str, tmp_path: Path) -> None:
    """As timm publishes them; what else the file holds, such as the head, is not looked at."""
    published = timm.create_model(name.removeprefix("timm/")).eval()
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    backbone = load_backbone(BACKBONES[name], str(tmp_path / "model.safetensors"))
    trunk = Backbone(BACKBONES[name], published)
    assert all(torch.equal(a, b) for a, b in zip(backbone.parameters(), trunk.parameters(), strict=True))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("heads", ["trunk", "projected"])
def test_gradient_penalties_have_a_derivative(name: str, heads: str) -> None:
    """R1 on a discriminator whose trunk is frozen, or trained."""
    options = DISCRIMINATORS[heads].Options(scales=2, head_channels=8)
    network = DISCRIMINATORS[heads](options, lambda channels: load_backbone(BACKBONES[name], "random", channels), 0, 32)
    images = image(32, 32).requires_grad_()
    logits = torch.cat([x.flatten() for x in network(images)])
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    trained = {key: p.grad for key, p in network.named_parameters() if p.requires_grad and not key.endswith("bias")}
    assert trained
    assert all(g is not None and g.isfinite().all() for g in trained.values())
    assert any(g is not None and g.abs().sum() > 0 for g in trained.values())


def test_second_derivatives_are_right() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = load_backbone(BACKBONES["timm/test_vit"], "random").double()

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone(x)["norm"]

    x = image(20, 20).double().requires_grad_()
    assert torch.autograd.gradgradcheck(Narrow(), x, fast_mode=True)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("discriminator", ["trunk", "projected"])
def test_a_trial_on_a_transformer(dataset: ImageDataset, name: str, discriminator: str) -> None:
    """Trunk of D, extractor of the feature loss; what is frozen stays, what is not learns."""
    options = {"name": discriminator, "scales": 2, "head_channels": 8}
    frozen = BACKBONES[name].depth if discriminator == "projected" else 2
    config = small_config(
        backbone=name,
        weights="random",
        discriminator=options | ({"frozen_depth": frozen} if discriminator == "trunk" else {}),
        feature_loss={"layers": BACKBONES[name].layer_names[1:3], "weight": 0.5},
        regularisers=({"name": "r1"},),
    )
    trainer = GanTrainer(config, dataset)
    before = {key: value.clone() for key, value in trainer.discriminator.state_dict().items()}
    for _ in range(2):
        losses = trainer.step()
    assert all(bool(torch.as_tensor(value).isfinite()) for value in losses.values())
    assert losses["feature_distance"] > 0
    changed = {
        key.split(".")[2]
        for key, value in trainer.discriminator.state_dict().items()
        if key.startswith("backbone.stages") and not torch.equal(value, before[key])
    }
    assert changed == {str(stage) for stage in range(frozen, BACKBONES[name].depth)}


@pytest.mark.parametrize("name", SMALL)
def test_features_for_a_metric(name: str) -> None:
    """The last layer averaged over patches; the same for a picture in any batch."""

    def load(name: str) -> nn.Module:
        return load_backbone(BACKBONES[name], "random")

    extractor = Extractor(name, 64, "bicubic", load_backbone=load, device=torch.device("cpu"))
    pictures = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    features = extractor(pictures)
    assert features.shape == (5, BACKBONES[name].layers[-1].channels)
    torch.testing.assert_close(extractor(pictures[2:3]), features[2:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*SMALL, "timm/vit_small_patch14_dinov2"])
def test_an_encoder_of_a_generator(name: str) -> None:
    """Whose levels may all have one resolution."""

    def trunk(channels: int) -> Backbone:
        return load_backbone(BACKBONES[name], "random", channels)

    options = GENERATORS["encoder_decoder"].Options(channels=4, frozen_depth=1)
    generator = GENERATORS["encoder_decoder"](options, Frame(64, 1, 2), trunk)
    nn.init.normal_(generator.decoder.to_image.weight)
    x = torch.rand(1, 1, 64, 50, requires_grad=True)
    pictures = generator(x)
    assert pictures.shape == (1, 2, 64, 50)
    pictures.square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_a_transformer_is_not_inverted() -> None:
    options = GENERATORS["inverted_trunk"].Options()
    problem = GENERATORS["inverted_trunk"].unfit(options, Frame(32), BACKBONES["timm/test_vit"])
    assert problem == "inverted_trunk needs a VGG or ResNet of torchvision, but got timm/test_vit"


@pytest.mark.parametrize("name", ["timm/beit_base_patch16_224", "timm/maxvit_nano_rw_256", "timm/hiera_tiny_224"])
def test_other_transformers_are_refused_by_what_can_be_had(name: str) -> None:
    with pytest.raises(ValueError, match=rf"or one of timm's plain transformers \(ViT, DeiT, EVA\) or Swin, but {name} is not"):
        BACKBONES[name]
