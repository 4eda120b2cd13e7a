"""Which tensor of a file goes where: by name, or, where only the names differ, by order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_SHOWN = 3
_COUNTER = "num_batches_tracked"  # unused by pretrained statistics, and missing in old files


def load_trunk(network: nn.Module, stages: Sequence[nn.Module], state: Mapping[str, Tensor], origin: str) -> None:
    """Copies ``state`` into the parts of ``network`` that are in ``stages``; other tensors of the file are not looked at.

    Args:
        network: the library's whole network.
        stages: its trunk.
        state: tensors under the network's names, of all of it or of its trunk; or, under any names, tensors that begin with
            those of all of it or of its trunk, of the same kinds and shapes and in the same order.
        origin: the file, for messages.

    Raises:
        ValueError: trunk tensors are missing or have another shape; the message names them.
    """
    own = network.state_dict(keep_vars=True)
    in_trunk = {id(tensor) for stage in stages for tensor in stage.state_dict(keep_vars=True).values()}
    trunk = {name: tensor for name, tensor in own.items() if id(tensor) in in_trunk and not name.endswith(_COUNTER)}
    if not trunk.keys() <= state.keys():
        state = _by_order(own, state) or _by_order(trunk, state) or state
    wrong = [f"{name} is missing" for name in trunk if name not in state] + [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in trunk.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (", …" if len(wrong) > _SHOWN else "")
        raise ValueError(
            f"{origin} does not hold the tensors of {type(network).__name__}'s trunk, by name or by order: "
            f"{len(wrong)} of {len(trunk)} differ: {shown}"
        )
    with torch.no_grad():
        for name, tensor in trunk.items():
            tensor.copy_(state[name])


def _by_order(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The first tensors of ``state`` under the names of ``own``; None where kinds and shapes do not agree one by one."""
    names, given = (
        [(name, name.rpartition(".")[2], tensor) for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
        for tensors in (own, state)
    )
    if [(kind, x.shape) for _, kind, x in names] != [(kind, x.shape) for _, kind, x in given[: len(names)]]:
        return None
    return {name: tensor for (name, *_), (*_, tensor) in zip(names, given, strict=False)}
