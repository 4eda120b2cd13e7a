"""What fine-tuning starts from: a source checkpoint, an earlier export, or a trial's checkpoint.

A source checkpoint is one safetensors file. Names are ``generator.<parameter>`` and ``discriminator.<backbone>.<parameter>``; D's
pretrained trunk is not in it, so a file can hold heads for several backbones. The metadata hold the generator's options as JSON.
Whatever the start, tensors are copied by name where their shapes fit, and the rest is reported.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables.discriminators.discriminator import in_trunk

_EXPORT = "generator.safetensors"


class LoadReport(NamedTuple):
    """What a source gave: names of the tensors copied, and of those that kept their initial values."""

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} tensors copied, {len(self.missing)} not in the source, {len(self.mismatched)} of another shape"
        )


def save_source(file: Path, generator: nn.Module, discriminators: dict[str, nn.Module], metadata: dict[str, object]) -> None:
    """Writes a source checkpoint, whole or not at all; ``discriminators`` by backbone name. In float16, to halve the file."""
    tensors = {f"generator.{k}": v for k, v in generator.state_dict().items()}
    for backbone, discriminator in discriminators.items():
        state = discriminator.state_dict()
        tensors |= {f"discriminator.{backbone}.{k}": v for k, v in state.items() if not in_trunk(k)}
    half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in tensors.items()}
    descriptor, part = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    os.close(descriptor)
    try:
        save_file(half, part, metadata={"gansweep": json.dumps(metadata)})
        os.chmod(part, 0o644)
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def load_source(file: str | Path, generator: nn.Module, discriminator: nn.Module, backbone: str) -> LoadReport:
    """Copies what fits by name and shape into ``generator`` and ``discriminator`` and reports the rest.

    Raises:
        ValueError: the source cannot be read, or none of the generator's tensors fit.
    """
    tensors = read_source(Path(file))
    reports = [
        _copy(generator, tensors, "generator."),
        _copy(discriminator, tensors, f"discriminator.{backbone}.", needs_trunk=False),
    ]
    if not reports[0].copied:
        raise ValueError(f"{file} holds no tensor that fits this generator (resolution, channels or z_dim differ)")
    return LoadReport(*(a + b for a, b in zip(*reports, strict=True)))


def read_source(source: Path) -> dict[str, Tensor]:
    """The tensors of a source, as float32, under the names of a source checkpoint. None of its code is run.

    Args:
        source: a ``.safetensors`` file, the folder of an export, or a ``checkpoint_*.pt`` or ``best.pt`` of a trial.

    Raises:
        ValueError: it is missing, damaged, or none of these.
    """
    if source.is_dir():
        return _read_export(source)
    if not source.is_file():
        raise ValueError(f"source checkpoint {source} does not exist")
    if source.suffix == ".pt":
        return _read_checkpoint(source)
    try:
        with safe_open(source, framework="pt") as handle:
            return {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"source checkpoint {source} is not a safetensors file: {error}") from error


def _read_export(folder: Path) -> dict[str, Tensor]:
    file = folder / _EXPORT
    if not file.is_file():
        raise ValueError(f"source {folder} is a folder, but no export: it has no {_EXPORT}")
    try:
        return {f"generator.{name}": tensor.float() for name, tensor in load_file(file).items()}
    except SafetensorError as error:
        raise ValueError(f"source {file} is damaged: {error}") from error


def _read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The averaged generator of a trial and, of a full checkpoint, its discriminator."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        state = content.get("trainer", content)
        generator, discriminator, backbone = state["ema"], state.get("discriminator", {}), state.get("backbone")
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError) as error:
        raise ValueError(f"source {file} is no checkpoint of a trial: {error}") from error
    tensors = {f"generator.{name}": tensor.float() for name, tensor in generator.items()}
    return tensors | {f"discriminator.{backbone}.{name}": tensor.float() for name, tensor in discriminator.items()}


def _copy(module: nn.Module, tensors: dict[str, Tensor], prefix: str, needs_trunk: bool = True) -> LoadReport:
    copied: list[str] = []
    missing: list[str] = []
    mismatched: list[str] = []
    for name, own in module.state_dict().items():
        given = tensors.get(prefix + name)
        if given is None:
            if needs_trunk or not in_trunk(name):
                missing.append(prefix + name)
        elif given.shape != own.shape:
            mismatched.append(prefix + name)
        else:
            own.copy_(given)
            copied.append(prefix + name)
    return LoadReport(tuple(copied), tuple(missing), tuple(mismatched))
