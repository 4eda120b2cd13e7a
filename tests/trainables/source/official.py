"""Pickles of the official layout, written by a stand-in: modules with the truth's tensors, pickled as the official ones are.

The official code gives its classes a reducer: an object is pickled as ``torch_utils.persistence._reconstruct_persistent_obj`` of
a dictionary with the class's name, its module's source code, which the official loader runs, and the object's ``__dict__``.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TRUTH = Path(__file__).parents[1] / "truth"
BUFFERS = {"resample_filter", "noise_const", "w_avg", "up_filter", "down_filter", "freqs", "phases", "transform", "magnitude_ema"}
Names = Callable[[str], bool]


def truth(name: str) -> dict[str, Any]:
    """A truth file's arrays; ``kwargs`` as a dictionary."""
    with np.load(TRUTH / f"{name}.npz") as arrays:
        return {key: json.loads(str(arrays[key])) if key == "kwargs" else arrays[key] for key in arrays.files}


def tensors(name: str, network: str) -> dict[str, Tensor]:
    """The tensors of "G" or "D" of a truth file, under their official names."""
    return {key[2:]: torch.from_numpy(value) for key, value in truth(name).items() if key.startswith(f"{network}.")}


class EasyDict(dict):  # type: ignore[type-arg]
    """As the official one: a dictionary of another type."""


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the official loader, which runs the file's code, is not to be called")


EasyDict.__module__, _reconstruct_persistent_obj.__module__ = "dnnlib.util", "torch_utils.persistence"


class Persistent(nn.Module):
    """A module that is pickled as the official ones are."""

    def __init__(self, class_name: str, kwargs: Mapping[str, Any], source: str = "") -> None:
        super().__init__()
        self._init_args = ()
        self._init_kwargs = {key: EasyDict(value) if isinstance(value, dict) else value for key, value in kwargs.items()}
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name}

    def __reduce__(self) -> Any:
        state = {key: value for key, value in self.__dict__.items() if key != "meta"}
        return _reconstruct_persistent_obj, (self.meta | {"state": state},)


def module(
    class_name: str,
    kwargs: Mapping[str, Any],
    values: Mapping[str, Tensor],
    frozen: Names = lambda name: False,
    conv_clamp: Any = 256,
    source: str = "",
) -> Persistent:
    """A network of these tensors.

    Args:
        frozen: whether a parameter is a buffer, by its name.
        conv_clamp: what layers say of themselves; ``...`` for nothing.
    """
    root = Persistent(class_name, kwargs, source)
    for name, value in values.items():
        *path, last = name.split(".")
        place: nn.Module = root
        for part in path:
            if part not in place._modules:
                place.add_module(part, Persistent(part.capitalize(), {}, source))
            place = place._modules[part]  # type: ignore[assignment]
        if last in BUFFERS or frozen(name):
            place.register_buffer(last, value.clone())
        else:
            place.register_parameter(last, nn.Parameter(value.clone(), requires_grad=False))
            if value.ndim == 4 and conv_clamp is not ...:
                place.conv_clamp = None if path[-1] == "skip" else conv_clamp  # type: ignore[assignment]
                # What StyleGAN3's layers keep of their design is partly numpy's.
                place.in_cutoff, place.in_size = np.float64(2.5), np.broadcast_to(np.asarray(36), [2])  # type: ignore[assignment]
    root.num_ws = 8  # type: ignore[assignment]
    return root


def snapshot(name: str, source: str = "", **changes: Any) -> dict[str, Any]:
    """What a training snapshot holds, of a truth file's networks; ``changes`` of it."""
    kwargs = truth(name)["kwargs"]
    generator = module("Generator", kwargs["G"], tensors(name, "G"), source=source)
    discriminator = module("Discriminator", kwargs["D"], tensors(name, "D"), source=source)
    return {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "cats.zip", "use_labels": False},
        "G": generator,
        "D": discriminator,
        "G_ema": generator,
        "augment_pipe": None,
    } | changes


def flat(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of StyleGAN2's generator in the form that StyleGAN3's repository has."""
    return {key: value for key, value in kwargs.items() if key != "synthesis_kwargs"} | kwargs["synthesis_kwargs"]


def dumped(content: Any, protocol: int = 4) -> bytes:
    """The bytes of an official pickle."""
    with stand_ins():
        return pickle.dumps(content, protocol)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Modules with the names of the official ones, for the time of pickling."""
    modules = {name: ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")}
    assert not modules.keys() & sys.modules.keys()
    sys.modules.update(modules)
    for thing in EasyDict, _reconstruct_persistent_obj:
        setattr(modules[thing.__module__], thing.__name__, thing)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
