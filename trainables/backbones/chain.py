"""Cuts any feed-forward network into stages at its halvings of resolution, by watching it run once without data.

A network's trunk is taken to be a chain: modules that are called one after the other, each with the very tensor that the one
before returned. A module whose own calls form such a chain from its input to its output is replaced by them, recursively, so
the links are as fine as the network's forward allows and running them in order *is* the network's forward. The trunk ends
before the first thing that is no feature map any more: a pool to one pixel, tokens, a channels-last map, a functional operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trainables.backbones.backbone import Layer, without_data

PROBE_PX = 224  # the side at which classification networks are defined; their pool leaves 1 px of its 7
_OTHER_PX = 160
_MIN_STAGES = 3


class Plan(NamedTuple):
    """How a network is cut: its layers, and for each the modules (by path) that lead there from the layer before."""

    layers: tuple[Layer, ...]
    paths: tuple[tuple[str, ...], ...]

    def cut(self, network: nn.Module) -> list[nn.Module]:
        """The stages of a network of the same architecture."""
        return [out_of_place(nn.Sequential(*map(network.get_submodule, paths))) for paths in self.paths]


def out_of_place(stage: nn.Module) -> nn.Module:
    """In-place activations would overwrite the previous stage's output, which a loss may still need."""
    for module in stage.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return stage


def plan_stages(name: str, build: Callable[[], nn.Module]) -> Plan:
    """Finds the stages of the network that ``build`` makes; nothing is computed and no random number is drawn.

    Raises:
        ValueError: the network is no convolution pyramid that takes images of any size.
    """
    try:
        network = out_of_place(without_data(build)).eval()
        links = _trunk(network)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(_no_pyramid(name, str(error) or "its forward refuses the image")) from error
    plan = _stages(network, links)
    if len(plan.layers) < _MIN_STAGES:
        found = ", ".join(f"{layer.name} (stride {layer.stride})" for layer in plan.layers) or "none"
        raise ValueError(_no_pyramid(name, f"feature maps found: {found}"))
    try:
        with torch.no_grad():
            nn.Sequential(*plan.cut(network))(torch.empty(1, 3, _OTHER_PX, _OTHER_PX, device="meta"))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(_no_pyramid(name, f"it takes images of {PROBE_PX} px, but not of {_OTHER_PX} px: {error}")) from error
    return plan


def _no_pyramid(name: str, why: str) -> str:
    return (
        f"a backbone must be a chain of convolutions with feature maps at {_MIN_STAGES} or more resolutions, for images of any "
        f"size, or one of timm's plain transformers (ViT, DeiT, EVA) or Swin, but {name} is not ({why})"
    )


@dataclass
class _Call:
    """One call of a module: what went in and out, and the calls it made itself."""

    module: nn.Module
    given: Tensor | None = None  # None: not exactly one tensor
    given_version: int = 0
    returned: Tensor | None = None
    returned_version: int = 0
    calls: list[_Call] = field(default_factory=list)


@torch.no_grad()
def _trunk(network: nn.Module) -> list[_Call]:
    root = _Call(network)
    stack = [root]

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = _Call(module)
        if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
            call.given, call.given_version = args[0], args[0]._version
        stack[-1].calls.append(call)
        stack.append(call)

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = stack.pop()
        if isinstance(output, Tensor):
            call.returned, call.returned_version = output, output._version

    handles = [m.register_forward_pre_hook(enter, with_kwargs=True) for m in network.modules()]
    handles += [m.register_forward_hook(leave) for m in network.modules()]
    try:
        network(torch.empty(1, 3, PROBE_PX, PROBE_PX, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    (forward,) = root.calls
    assert forward.given is not None
    links = [link for call in _chain(forward) for link in _links(call)]
    end = next((i for i, link in enumerate(links) if not _is_feature_map(link.returned)), len(links))
    return links[:end]


def _chain(call: _Call) -> list[_Call]:
    """The calls that follow one another from the input of ``call``, each with what the one before returned, untouched.

    A tensor's version counts what was done to it in place, such as ``x += shortcut`` between two calls.
    """
    chain: list[_Call] = []
    x, version = call.given, call.given_version
    for inner in call.calls:
        taken = inner.given is not None and inner.given is x and inner.given_version == version
        if not taken or inner.returned is None or any(inner.module is earlier.module for earlier in chain):
            break
        chain.append(inner)
        x, version = inner.returned, inner.returned_version
    return chain


def _links(call: _Call) -> list[_Call]:
    """``call`` itself, or the calls it consists of where it halves the resolution more than once."""
    if not _is_feature_map(call.returned) or _stride(call.returned) <= 2 * _stride(call.given):
        return [call]
    chain = _chain(call)
    whole = len(chain) == len(call.calls) > 0
    if whole and chain[-1].returned is call.returned and chain[-1].returned_version == call.returned_version:
        return [link for inner in chain for link in _links(inner)]
    return [call]


def _stride(x: Tensor | None) -> int:
    """Of the input's side; convolutions without padding leave a little less than half: 111 of 224 pixels is stride 2."""
    assert x is not None
    return 2 ** round(math.log2(PROBE_PX / x.shape[-1]))


def _is_feature_map(x: Tensor | None) -> bool:
    return x is not None and x.ndim == 4 and x.shape[2] == x.shape[3] > 1


def _stages(network: nn.Module, links: list[_Call]) -> Plan:
    path_of = {id(module): path for path, module in network.named_modules()}
    groups: dict[int, list[_Call]] = {}
    for link in links:
        groups.setdefault(_stride(link.returned), []).append(link)
    layers, paths = [], []
    pending: list[str] = []
    for stride, group in groups.items():
        pending += [path_of[id(link.module)] for link in group]
        if not any(True for link in group for _ in link.module.parameters()):
            continue  # only a pool: it joins the next stage, or, at the end of VGG and AlexNet, nothing
        last = group[-1].returned
        assert last is not None
        layers.append(Layer(pending[-1], last.shape[1], stride))
        paths.append(tuple(pending))
        pending = []
    return Plan(tuple(layers), tuple(paths))
