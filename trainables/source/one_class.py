"""A network without classes that does what a network with classes does for one of them.

A class enters a StyleGAN at two places alone. In G its embedding is joined to z before the mapping's first layer: what that layer
makes of it is a constant, which goes into the bias. In D the answer is a scalar product of the last layer's outputs with the
class's mapping: the weighted sum of that layer's rows is one row. So fine-tuning on pictures without labels can start from it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.layers.equalized import unit_mean_square
from trainables.layers.mapping import Mapping
from trainables.source.source import DISCRIMINATOR, GENERATOR, Source

_DISCRIMINATOR = f"{DISCRIMINATOR}stylegan2."


def of_class(source: Source, label: int) -> Source:
    """The same networks for class ``label`` alone.

    Raises:
        ValueError: the generator has no classes, or no such one, or the source is incomplete.
    """
    options = source.generator or {}
    classes = options.get("c_dim", 0)
    if not classes:
        raise ValueError(f"its generator has no classes, so none can be chosen, but got label {label}")
    if not 0 <= label < classes:
        raise ValueError(f"label must be one of its generator's {classes} classes, 0 to {classes - 1}, but got {label}")
    one_hot = F.one_hot(torch.tensor([label]), classes).double()
    tensors = dict(source.tensors)
    theirs = source.discriminator
    try:
        _fold_generator(tensors, one_hot, options["z_dim"])
        if theirs is not None and theirs["name"] == "stylegan2" and theirs.get("c_dim"):
            _fold_discriminator(tensors, one_hot, theirs["mapping_layers"])
            theirs = theirs | {"c_dim": 0}
    except KeyError as error:
        raise ValueError(f"it lacks {error}, which a network with classes has") from error
    metadata = source.metadata | {"label": label}
    return replace(source, generator=options | {"c_dim": 0}, discriminator=theirs, metadata=metadata, tensors=tensors)


def _fold_generator(tensors: dict[str, Tensor], one_hot: Tensor, z_dim: int) -> None:
    embed = [tensors.pop(f"{GENERATOR}mapping.embed.{name}").double() for name in ("weight", "bias")]
    embedded = unit_mean_square(one_hot @ embed[0].T / math.sqrt(one_hot.shape[1]) + embed[1])[0]
    first, bias = f"{GENERATOR}mapping.fc0.weight", f"{GENERATOR}mapping.fc0.bias"
    weight = tensors[first].double()
    joined = weight.shape[1]
    # Weights are divided by the root of their number of inputs when they are used, which becomes another.
    tensors[first] = (weight[:, :z_dim] * math.sqrt(z_dim / joined)).float()
    # Weights and biases have the same multiplier.
    tensors[bias] = (tensors[bias].double() + weight[:, z_dim:] @ embedded / math.sqrt(joined)).float()


def _fold_discriminator(tensors: dict[str, Tensor], one_hot: Tensor, layers: int) -> None:
    prefix = f"{_DISCRIMINATOR}mapping."
    state = {name.removeprefix(prefix): tensors.pop(name).double() for name in list(tensors) if name.startswith(prefix)}
    mapping = Mapping(0, one_hot.shape[1], len(state["embed.bias"]), layers).double()
    mapping.load_state_dict(state)
    with torch.no_grad():
        mapped: Tensor = mapping(None, one_hot)
    for name in ("weight", "bias"):
        rows = tensors[f"{_DISCRIMINATOR}b4.out.{name}"].double()
        tensors[f"{_DISCRIMINATOR}b4.out.{name}"] = (mapped @ rows.view(len(rows), -1) / math.sqrt(len(rows))).float()
    tensors[f"{_DISCRIMINATOR}b4.out.bias"] = tensors[f"{_DISCRIMINATOR}b4.out.bias"].flatten()
