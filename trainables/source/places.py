"""That every tensor of a foreign file has its place in our network, and every place its tensor.

The official loader copies tensors of the same name and drops the rest in silence, so that a network of two mapping layers takes
the first two of eight. Here what does not fit is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS, Frame
from trainables.registry import options_union

_NAMED = 4  # tensors of each kind in a message
Shapes = Mapping[str, tuple[int, ...]]


def generator_places(options: Mapping[str, Any], resolution: int) -> Shapes:
    """The shapes of the tensors of a generator from noise, by name. ValueError where there is none of these options."""
    with _only_shapes():
        made = TypeAdapter(options_union(GENERATORS)).validate_python(options)
        return _shapes(GENERATORS[made.name](made, Frame(resolution), _no_trunk))


def discriminator_places(options: Mapping[str, Any], resolution: int) -> Shapes:
    """The shapes of the tensors of a discriminator without a trunk. ValueError as for `generator_places`."""
    with _only_shapes():
        made = TypeAdapter(options_union(DISCRIMINATORS)).validate_python(options)
        return _shapes(DISCRIMINATORS[made.name](made, _no_trunk, 0, resolution))


def check_places(what: str, found: Shapes, places: Shapes) -> None:
    """Raises ValueError unless names and shapes are the same."""
    wrong = {
        "not in the file": places.keys() - found.keys(),
        "without a place": found.keys() - places.keys(),
        "of another shape": {name for name in found.keys() & places.keys() if tuple(found[name]) != tuple(places[name])},
    }
    if any(wrong.values()):
        told = "; ".join(f"{len(names)} {kind} ({_listed(names)})" for kind, names in wrong.items() if names)
        raise ValueError(f"{what} is not the network that its architecture says, of {len(places)} tensors: {told}")


def check_finite(what: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError where a tensor holds a value that is not finite."""
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"{what} has {len(bad)} tensors with values that are not finite ({_listed(bad)})")


def check_held(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises ValueError where tensors are larger than their file: views that repeat numbers, or that share them."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > file.stat().st_size:
        raise ValueError(f"refused: its tensors are {size:,} bytes, more than the file holds: {_listed(tensors)}")


def _shapes(network: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _NAMED
    return ", ".join(ordered[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class HasTrunkError(ValueError):
    """Of a network that is made of a pretrained one, the shapes are not known here."""


def _no_trunk(channels: int) -> Any:
    raise HasTrunkError("it has a pretrained trunk")


@contextmanager
def _only_shapes() -> Iterator[None]:
    """Networks made within hold no memory, and what is wrong with their options is a ValueError."""
    try:
        with torch.device("meta"):
            yield
    except (RuntimeError, ArithmeticError, AssertionError) as error:  # a shape that no tensor can have, a logarithm of zero
        raise ValueError(f"no network can be built of these options: {error}") from error
