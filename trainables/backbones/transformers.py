"""timm's vision transformers as backbones: their tokens laid out as feature maps.

ViT and what shares its form (DeiT, DINO, DINOv2, CLIP; EVA and DINOv3 with rotary position embeddings) are cut after each quarter
of their blocks, where DINOv2's features for depth are taken (Oquab et al. 2023, section 7.4); all maps have the resolution of the
patches. Swin has stages of its own. The last stage includes the norm before the network's head. Position embeddings are resampled
to the image's size, and images padded to whole patches, by timm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import Permute

from trainables.backbones.backbone import Layer, Tokens, without_data

_STAGES = 4
_CHECKED_PX = (75, 50)  # not square, and no multiples of a patch


class TransformerPlan(NamedTuple):
    """How a transformer is cut: its layers, and what makes the stages of a network of the same architecture."""

    layers: tuple[Layer, ...]
    cut: Callable[[nn.Module], list[nn.Module]]


def is_transformer(name: str) -> bool:
    """Whether timm's ``name`` is of a family that `plan_transformer` can cut."""
    return _family(name) in _CUTS


def build_transformer(name: str) -> nn.Module:
    """timm's ``name`` with random weights, for images of any size.

    Attention is computed by plain operations: the fused ones have no second derivative, which gradient penalties take.
    """
    import timm

    network = timm.create_model(name, pretrained=False, dynamic_img_size=True)
    network.patch_embed.dynamic_img_pad = True
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return network


def plan_transformer(name: str) -> TransformerPlan:
    """Finds the stages of timm's ``name``; nothing is computed and no random number is drawn.

    Raises:
        ValueError: the network is built in another way than the rest of its family.
    """
    network: Any = without_data(lambda: build_transformer(name)).eval()
    cut = _CUTS[_family(name)]
    try:
        with torch.no_grad():
            nn.Sequential(*cut(network))(torch.empty(1, 3, *_CHECKED_PX, device="meta"))
    except (RuntimeError, AssertionError, AttributeError, TypeError) as error:
        raise ValueError(f"timm/{name} cannot be cut into stages like other transformers of its family: {error}") from error
    return TransformerPlan(_layers(network), cut)


def _family(name: str) -> str:
    """The module of timm in which the architecture is defined."""
    import timm

    return timm.models.model_entrypoint(name).__module__.rpartition(".")[2]


def _ends(network: Any) -> list[int]:
    """For each stage the index of the last of the network's blocks, or of Swin's own stages."""
    depth = len(network.feature_info)
    return sorted({depth * quarter // _STAGES - 1 for quarter in range(1, _STAGES + 1)} - {-1})


def _layers(network: Any) -> tuple[Layer, ...]:
    known = [network.feature_info[end] for end in _ends(network)]
    names = [info["module"] for info in known]
    if not isinstance(network.norm, nn.Identity):
        names[-1] = "norm"
    return tuple(Layer(name, info["num_chs"], info["reduction"]) for name, info in zip(names, known, strict=True))


def _cut_tokens(network: Any) -> list[nn.Module]:
    first, *ends = _ends(network)
    stages: list[nn.Module] = [_FirstBlocks(network, first + 1)]
    start = first + 1
    for end in ends:
        norm = network.norm if end == ends[-1] else nn.Identity()
        stages.append(_Blocks(network.blocks[start : end + 1], start, norm, mixed=getattr(network, "rope_mixed", False)))
        start = end + 1
    return stages


class _FirstBlocks(nn.Module):
    """Images [N, 3, H, W] → the tokens of patches after the first blocks, by the network's own forward."""

    def __init__(self, network: Any, blocks: int) -> None:
        super().__init__()
        # Another shell around the same modules and parameters, so that the network keeps what is taken away from this one.
        self.network = copy.copy(network)
        self.network._modules, self.network._parameters = network._modules.copy(), network._parameters.copy()
        self.network.prune_intermediate_layers([blocks - 1], prune_norm=True)

    def forward(self, images: Tensor) -> Tokens:
        network, has_others = self.network, self.network.num_prefix_tokens > 0
        (found,) = network.forward_intermediates(
            images, indices=[len(network.blocks) - 1], return_prefix_tokens=has_others, intermediates_only=True
        )
        places, others = found if has_others else (found, found.new_empty(len(found), 0, found.shape[1]))
        rope = getattr(network, "rope", None)
        return Tokens(places, others, None if rope is None else rope.get_embed(shape=places.shape[-2:]))


class _Blocks(nn.Module):
    """Tokens → tokens.

    Args:
        start: index of the first of these blocks in the network.
        norm: what comes after the blocks.
        mixed: whether each block has rotary embeddings of its own.
    """

    def __init__(self, blocks: Sequence[nn.Module], start: int, norm: nn.Module, *, mixed: bool) -> None:
        super().__init__()
        self.blocks, self.norm = nn.ModuleList(blocks), norm
        self.start, self.mixed = start, mixed

    def forward(self, tokens: Tokens) -> Tokens:
        places, others, rotary = tokens
        x = torch.cat([others, places.flatten(2).transpose(1, 2)], dim=1)
        for index, block in enumerate(self.blocks, self.start):
            x = block(x) if rotary is None else block(x, rope=rotary[index] if self.mixed else rotary)
        others, rest = self.norm(x).split([others.shape[1], x.shape[1] - others.shape[1]], dim=1)
        return Tokens(rest.transpose(1, 2).reshape(places.shape).contiguous(), others, rotary)


def _cut_windows(network: Any) -> list[nn.Module]:
    """Swin's stages pass on maps whose channels come last."""
    to_last, to_first = Permute([0, 2, 3, 1]), Permute([0, 3, 1, 2])
    first, *others, last = [network.layers[end] for end in _ends(network)]
    return [
        nn.Sequential(network.patch_embed, first, to_first),
        *(nn.Sequential(to_last, stage, to_first) for stage in others),
        nn.Sequential(to_last, last, network.norm, to_first),
    ]


_CUTS: dict[str, Callable[[Any], list[nn.Module]]] = {
    "vision_transformer": _cut_tokens,
    "deit": _cut_tokens,
    "eva": _cut_tokens,
    "swin_transformer": _cut_windows,
    "swin_transformer_v2": _cut_windows,
}
