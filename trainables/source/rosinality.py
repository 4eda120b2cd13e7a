"""Checkpoints of rosinality's stylegan2-pytorch: dictionaries of state dicts, ``g_ema``, ``g``, ``d``, and ``latent_avg``.

The network is StyleGAN2 under other names. Weights are as raw as the official ones, and no kernel is turned: where the official
upsampling layer is a true convolution, it is a transposed convolution with the same raw weight, as here. Its kernels' additional
factor 1 / √fan-in is undone by demodulation; where there is none, in ``to_rgb``, the official layer has it too. It has neither
clamp nor classes, and its minibatch standard deviation looks at groups of four.
"""

from __future__ import annotations

import argparse
import math
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.digest import archive_damage
from trainables.layers.fir import filter_kernel
from trainables.layers.mapping import Mapping
from trainables.randomness import noise
from trainables.source.origin import origin
from trainables.source.places import Shapes, check_finite, check_held, check_places, discriminator_places, generator_places
from trainables.source.source import DISCRIMINATOR, GENERATOR, Source

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what PyTorch's files began with before they were archives
_KEY = b"\x05\x00\x00\x00g_ema"  # as pickled text
_LARGEST_INDEX = 64 * 2**20
_MAX_DOUBLINGS = 10  # of 4 px
_STYLES_AVERAGED = 10_000
_DIMENSIONS = {"const": 3, "noise_const": 2, "noise_strength": 0, "weight": 4}

Names = Iterator[tuple[str, str]]
"""What a tensor is called there, and here."""


def is_one(file: Path) -> bool:
    """Whether a ``.pt`` file looks like such a checkpoint, and not like one of ours."""
    try:
        with file.open("rb") as handle:
            if handle.read(len(_LEGACY)) == _LEGACY:
                return True
        with zipfile.ZipFile(file) as archive:
            index = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
            return index.file_size <= _LARGEST_INDEX and _KEY in archive.read(index)
    except Exception:  # of many kinds: whatever damage does to an archive; ours say what it is
        return False


def read(file: Path, *, discriminator: bool = True) -> Source:
    """Such a checkpoint; its code is not run.

    Args:
        discriminator: whether D is taken too, where there is one.

    Raises:
        ValueError: it is damaged, holds more than tensors, or other networks.
    """
    try:
        return _source(file, _content(file), discriminator)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"source {file}: {error}") from error


def _content(file: Path) -> dict[str, Any]:
    archived = zipfile.is_zipfile(file)
    if archived:
        _check_sizes(file)
    try:
        # The arguments of its training, in what it saves while training.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=archived)
    except pickle.UnpicklingError as error:  # which recommends to load it with its code
        raise ValueError("refused: it cannot be read without running code that is in it") from error
    except Exception as error:  # of many kinds: whatever damage does to PyTorch's reader
        raise ValueError(f"it is damaged: {str(error)[:300]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds no state dicts but a {type(content).__name__}")
    return content


def _check_sizes(file: Path) -> None:
    """Raises ValueError where the archive would become larger than the file is, or is damaged."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
    if packed or sum(info.file_size for info in infos) > file.stat().st_size:
        raise ValueError("refused: an archive that becomes larger when it is read, which PyTorch's never do")
    if damage := archive_damage(file):
        raise ValueError(damage)


def _source(file: Path, content: dict[str, Any], discriminator: bool) -> Source:
    taken = "g_ema" if isinstance(content.get("g_ema"), dict) else "g"
    state = _state(taken, content.get(taken), file)
    doubled = sum(name.startswith("to_rgbs.") and name.endswith(".conv.weight") for name in state)
    if not 0 < doubled <= _MAX_DOUBLINGS:
        raise ValueError(f"{taken} is no generator of stylegan2-pytorch: it has {doubled} layers to_rgbs")
    resolution, layers = 4 * 2**doubled, sum(name.startswith("style.") and name.endswith(".weight") for name in state)
    average, p = content.get("latent_avg"), content.get("ada_aug_p")
    if isinstance(average, Tensor):
        check_held({"latent_avg": average}, file)
    tensors = _renamed(taken, state, _generator_names(doubled, layers), kernels_sum=4)
    width = len(_part(taken, tensors, "mapping.fc0.bias"))
    options = {"name": "stylegan2", "z_dim": width, "w_dim": width, "c_dim": 0, "mapping_layers": layers, "architecture": "skip"}
    options |= _widths(taken, tensors, "synthesis.b4.const", f"synthesis.b{resolution}.conv1.weight", resolution)
    places = generator_places(options, resolution)
    _check(taken, tensors | {"mapping.w_avg": torch.zeros(width)}, places)
    tensors["mapping.w_avg"] = average.float() if isinstance(average, Tensor) else _average_style(tensors, layers)
    _check("latent_avg", tensors, places)
    named, theirs = {GENERATOR + name: value for name, value in tensors.items()}, None
    if discriminator and isinstance(content.get("d"), dict):
        tensors = _renamed("d", _state("d", content["d"], file), _discriminator_names(doubled), kernels_sum=1)
        theirs = {"name": "stylegan2", "c_dim": 0, "architecture": "resnet", "mbstd_group": 4}
        theirs |= _widths("d", tensors, "b4.conv.weight", f"b{resolution}.fromrgb.weight", resolution)
        _check("d", tensors, discriminator_places(theirs, resolution))
        named |= {f"{DISCRIMINATOR}stylegan2.{name}": value for name, value in tensors.items()}
    metadata = origin(file, "checkpoint of stylegan2-pytorch (rosinality)", taken)
    if not isinstance(average, Tensor):
        metadata["mean_style"] = f"of {_STYLES_AVERAGED} latents, for the file has none"
    if isinstance(p, int | float) and 0 <= p < math.inf:
        metadata["augment_p"] = float(p)
    return Source(generator=options, discriminator=theirs, resolution=resolution, metadata=metadata, tensors=named)


def _state(what: str, state: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) and x.is_floating_point() for x in state.values()):
        raise ValueError(f"{what} is no state dict of tensors")
    check_held(state, file)
    return state


def _generator_names(doubled: int, layers: int) -> Names:
    for index in range(layers):
        yield from _both(f"style.{index + 1}", f"mapping.fc{index}")
    yield "input.input", "synthesis.b4.const"
    yield from _styled("conv1", "synthesis.b4.conv1", 0)
    yield from _to_rgb("to_rgb1", "synthesis.b4.torgb")
    for index in range(doubled):
        block = f"synthesis.b{8 * 2**index}"
        for which in range(2):
            yield from _styled(f"convs.{2 * index + which}", f"{block}.conv{which}", 2 * index + which + 1)
        yield from _to_rgb(f"to_rgbs.{index}", f"{block}.torgb")


def _styled(there: str, here: str, noise_index: int) -> Names:
    yield f"{there}.conv.weight", f"{here}.weight"
    yield f"{there}.noise.weight", f"{here}.noise_strength"
    yield f"{there}.activate.bias", f"{here}.bias"
    yield f"noises.noise_{noise_index}", f"{here}.noise_const"
    yield from _both(f"{there}.conv.modulation", f"{here}.affine")


def _to_rgb(there: str, here: str) -> Names:
    yield f"{there}.conv.weight", f"{here}.weight"
    yield f"{there}.bias", f"{here}.bias"
    yield from _both(f"{there}.conv.modulation", f"{here}.affine")


def _discriminator_names(doubled: int) -> Names:
    yield "convs.0.0.weight", f"b{4 * 2**doubled}.fromrgb.weight"
    yield "convs.0.1.bias", f"b{4 * 2**doubled}.fromrgb.bias"
    for index in range(doubled):
        there, here = f"convs.{index + 1}", f"b{4 * 2 ** (doubled - index)}"
        yield f"{there}.conv1.0.weight", f"{here}.conv0.weight"
        yield f"{there}.conv1.1.bias", f"{here}.conv0.bias"
        yield f"{there}.conv2.1.weight", f"{here}.conv1.weight"
        yield f"{there}.conv2.2.bias", f"{here}.conv1.bias"
        yield f"{there}.skip.1.weight", f"{here}.skip.weight"
    yield "final_conv.0.weight", "b4.conv.weight"
    yield "final_conv.1.bias", "b4.conv.bias"
    yield from _both("final_linear.0", "b4.fc")
    yield from _both("final_linear.1", "b4.out")


def _both(there: str, here: str) -> Names:
    yield f"{there}.weight", f"{here}.weight"
    yield f"{there}.bias", f"{here}.bias"


def _renamed(what: str, state: dict[str, Tensor], names: Names, kernels_sum: float) -> dict[str, Tensor]:
    """The tensors under our names, and those that have none under their own; in our shapes, as float32.

    Args:
        kernels_sum: of the low-pass filters that lie among the tensors. They are built in here, and left out.
    """
    ours = dict(names)
    made = {}
    for name, value in state.items():
        if name.rpartition(".")[2] != "kernel":
            here = ours.get(name, name)
            if here in made:
                raise ValueError(f"{what}: {name} has the place of another tensor, {here}")
            made[here] = _as_here(here, value.float())
            continue
        expected = filter_kernel(value.float()) * kernels_sum
        if value.shape != expected.shape or not torch.allclose(value.float(), expected, rtol=1e-3):
            raise ValueError(f"{what}: {name} must be the filter [1, 3, 3, 1], which is built in here, but is another")
    return made


def _as_here(name: str, value: Tensor) -> Tensor:
    """Without the dimensions of length one that it has there for broadcasting."""
    last = name.rpartition(".")[2]
    value = value.flatten() if last == "bias" else value
    while value.ndim > _DIMENSIONS.get(last, value.ndim) and len(value) == 1:
        value = value[0]
    return value.contiguous()


def _part(what: str, tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors or tensors[name].ndim == 0:
        raise ValueError(f"{what} is no network of stylegan2-pytorch: it has nothing for {name}")
    return tensors[name]


def _widths(what: str, tensors: dict[str, Tensor], smallest: str, largest: str, resolution: int) -> dict[str, Any]:
    """Options that follow from the widths at 4 px and at the full resolution."""
    first, last = (len(_part(what, tensors, name)) for name in (smallest, largest))
    return {"channel_base": last * resolution, "channel_max": first, "clamp": None}


def _average_style(tensors: dict[str, Tensor], layers: int) -> Tensor:
    """The mean style, where the file has none."""
    state = {name.removeprefix("mapping."): value for name, value in tensors.items() if name.startswith("mapping.")}
    width = len(state["fc0.bias"])
    mapping = Mapping(width, 0, width, layers)
    mapping.load_state_dict(state | {"w_avg": torch.zeros(width)})
    with torch.no_grad():
        mean: Tensor = mapping(noise(_STYLES_AVERAGED, width, 0, "mean style")).mean(dim=0)
    return mean


def _check(what: str, tensors: dict[str, Tensor], places: Shapes) -> None:
    check_places(what, {name: tuple(value.shape) for name, value in tensors.items()}, places)
    check_finite(what, tensors)
