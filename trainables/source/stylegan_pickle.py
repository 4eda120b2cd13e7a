"""Official pickles of StyleGAN2-ADA and StyleGAN3: training snapshots, or a generator alone. Their code is never run.

A snapshot is a dictionary of ``G``, ``D``, ``G_ema``, ``augment_pipe`` and the training set's arguments. The generator taken is
``G_ema``, the averaged one, from which fine-tuning starts; ``G`` is taken where there is no other, and left out beside it. The
architecture follows from the arguments of the constructors (`trainables.source.stylegan_options`). Every tensor must find its
place in our network, and every place its tensor.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor

from trainables.layers.fir import TAPS
from trainables.source.closed_pickle import Budget, PickleError, RefusedError, load
from trainables.source.origin import origin
from trainables.source.pickled_values import ZIP, Module, official_table
from trainables.source.places import Shapes, check_finite, check_places, discriminator_places, generator_places
from trainables.source.source import DISCRIMINATOR, GENERATOR, Source
from trainables.source.stylegan_options import Arguments, stylegan2_discriminator, stylegan2_generator, stylegan3_generator

SUFFIX = ".pkl"
_MAX_BYTES = 4 * 2**30
_SHOWN = 10  # problems that a message names
_MAX_MODULES, _MAX_NAMES, _MAX_DEPTH = 2000, 20_000, 16
_FILTER = np.outer(TAPS, TAPS) / np.square(np.sum(TAPS))
_HINTS = (
    (
        ("dnnlib.tflib.", "tfutil."),
        "it is a pickle of the TensorFlow era: convert it by legacy.py of NVIDIA's stylegan3 repository, then import the result",
    ),
    (
        ("training.", "R3GAN.", "pg_modules."),
        "its networks are pickled as references to code of their own, as R3GAN's are; StyleGAN2-ADA's and StyleGAN3's are read",
    ),
)


@dataclass(frozen=True)
class _Network:
    """A module's own tensors and what it says of itself."""

    arguments: dict[str, Any]
    tensors: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    clamps: set[float | None] = field(default_factory=set)
    """Every value of ``conv_clamp`` that its layers have."""


def read(file: Path, *, discriminator: bool = True) -> Source:
    """An official pickle.

    Args:
        discriminator: whether D is taken too, where there is one.

    Raises:
        ValueError: it is damaged, asks for more than data, or holds other networks; the message says what was refused.
    """
    try:
        return _source(file, _content(file), discriminator)
    except RefusedError as error:
        hint = next((hint for starts, hint in _HINTS if error.name.startswith(starts)), None)
        raise ValueError(f"source {file}: {hint} ({error})" if hint else f"source {file}: {error}") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"source {file}: {error}") from error


def _content(file: Path) -> dict[str, Any]:
    """What the file holds, by the names that a snapshot has."""
    with file.open("rb") as handle:
        size = file.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            raise PickleError(f"it must have 1 to {_MAX_BYTES} bytes, but has {size}")
        budget = Budget(size)
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[: len(ZIP)] == ZIP:
                raise PickleError("it is a zip archive and no pickle; PyTorch's own files are, and are read with the suffix .pt")
            content = load(cast(IO[bytes], data), official_table(budget), budget)  # it has all of a file that is needed
    content = {"G_ema": content} if isinstance(content, Module) else content
    if not isinstance(content, dict):
        raise ValueError(f"it holds no networks but a {type(content).__name__}")
    return content


def _source(file: Path, content: dict[str, Any], discriminator: bool) -> Source:
    taken = "G_ema" if isinstance(content.get("G_ema"), Module) else "G"
    if not isinstance(content.get(taken), Module):
        raise ValueError("it holds no generator, neither G_ema nor G")
    ours, problems, size = _network(content[taken], "Generator"), list[str](), file.stat().st_size
    # The default of StyleGAN2-ADA's constructors, which nest the synthesis network's arguments, and that of StyleGAN3's.
    clamp = None if "synthesis_kwargs" in ours.arguments else 256.0
    arguments = Arguments(ours.arguments, problems)
    resolution = arguments.whole("img_resolution")
    is_third = any(name.startswith("synthesis.L") for name in ours.tensors)
    options = (stylegan3_generator if is_third else stylegan2_generator)(arguments, _clamp(ours, clamp))
    _raise_if(problems, taken)
    tensors = _placed(taken, ours, generator_places(options, resolution), GENERATOR, size)
    theirs = None
    if discriminator and isinstance(content.get("D"), Module):
        network = _network(content["D"], "Discriminator")
        arguments = Arguments(network.arguments, problems)
        arguments.one_of("img_resolution", resolution)
        theirs = stylegan2_discriminator(arguments, _clamp(network, clamp))
        _raise_if(problems, "D (leave it out by --no-discriminator)")
        tensors |= _placed("D", network, discriminator_places(theirs, resolution), f"{DISCRIMINATOR}{theirs['name']}.", size)
    kind = "StyleGAN3" if is_third else "StyleGAN2-ADA"
    metadata = origin(file, f"official {kind} pickle", taken) | _augment_p(content.get("augment_pipe"))
    return Source(generator=options, discriminator=theirs, resolution=resolution, metadata=metadata, tensors=tensors)


def _network(module: Module, class_name: str) -> _Network:
    if module.class_name != class_name:
        raise ValueError(f"its {class_name.lower()} must be of class {class_name}, but is of {module.class_name[:40]!r}")
    arguments = module.state.get("_init_kwargs")
    if not isinstance(arguments, dict) or module.state.get("_init_args"):
        raise ValueError(f"its {class_name.lower()} does not name the arguments that it was made with")
    network, names = _Network(arguments), 0
    for count, (path, state) in enumerate(_states(module, "", 0)):
        if count >= _MAX_MODULES:
            raise PickleError(f"refused: a network of more than {_MAX_MODULES} modules")
        clamp = state.get("conv_clamp", ...)
        if clamp is None or isinstance(clamp, int | float):
            network.clamps.add(clamp)
        for kind in ("_parameters", "_buffers"):  # frozen layers' parameters are buffers
            for name, value in _items(state, kind):
                names += 1
                if names > _MAX_NAMES:
                    raise PickleError(f"refused: a network of more than {_MAX_NAMES:,} names of tensors")
                if value is None:
                    continue
                if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or path + name in network.tensors:
                    raise ValueError(f"{path}{name} is no tensor of fractions, or is there twice")
                network.tensors[path + name] = value
    return network


def _states(module: Module, path: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The state of a module and of all below it, with what their tensors' names begin with."""
    if depth > _MAX_DEPTH:
        raise PickleError(f"refused: modules within modules, {_MAX_DEPTH} deep")
    yield path, module.state
    for name, below in _items(module.state, "_modules"):
        if not isinstance(below, Module):
            raise ValueError(f"{path}{name} is no module of the official code")
        yield from _states(below, f"{path}{name}.", depth + 1)


def _items(state: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    found = state.get(kind)
    if not isinstance(found, dict) or any(not isinstance(name, str) or len(name) > 100 for name in found):
        raise ValueError(f"a module without {kind}")
    return list(found.items())


def _clamp(network: _Network, otherwise: float | None) -> float | None:
    """``conv_clamp`` as the layers have it; where they do not say, the other. That of the residuals is always None."""
    said = network.clamps - {None}
    return next(iter(said)) if len(said) == 1 else None if network.clamps == {None} else otherwise


def _placed(what: str, network: _Network, places: Shapes, prefix: str, most: int) -> dict[str, Tensor]:
    """The network's tensors under our names, which are the official ones; ``most`` values at most."""
    tensors = network.tensors
    filters = {name for name in tensors if name.rpartition(".")[2] == "resample_filter"}
    for name in filters:
        if tensors[name].shape != _FILTER.shape or not np.allclose(tensors[name], _FILTER, rtol=1e-3):
            raise ValueError(f"{what}: {name} must be the filter {list(TAPS)}, which is built in here, but is another")
    found = {name: value for name, value in tensors.items() if name not in filters}
    check_places(what, {name: value.shape for name, value in found.items()}, places)
    if sum(value.size for value in found.values()) > most:
        raise PickleError("refused: its tensors share their values, to seem more than the file holds")
    made = {prefix + name: torch.from_numpy(np.array(value, np.float32, order="C")) for name, value in found.items()}
    check_finite(what, made)
    return made


def _augment_p(pipe: Any) -> dict[str, float]:
    """ADA's probability when training ended, where there is one."""
    if not isinstance(pipe, Module):
        return {}
    p = dict(_items(pipe.state, "_buffers")).get("p")
    # The official code lets it grow beyond 1.
    if not isinstance(p, np.ndarray) or p.dtype.kind != "f" or p.size != 1 or not 0 <= p.item() < math.inf:
        raise ValueError("its augment_pipe has no probability p of at least 0")
    return {"augment_p": p.item()}


def _raise_if(problems: list[str], what: str) -> None:
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ValueError(f"{what} cannot be rebuilt: " + "; ".join(problem[:300] for problem in problems[:_SHOWN]) + more)
