"""Source checkpoints: a generator, and the discriminator heads that were trained against it, to start fine-tuning from.

One safetensors file. Names are ``generator.<parameter>`` and ``discriminator.<backbone>.<parameter>``; D's pretrained trunk is
not in it, so a file can hold heads for several backbones. The metadata hold the generator's options as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


class LoadReport(NamedTuple):
    """What a source checkpoint gave: names of the tensors copied, and of those that kept their initial values."""

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} tensors copied, {len(self.missing)} not in the source, {len(self.mismatched)} of another shape"
        )


def save_source(file: Path, generator: nn.Module, discriminators: dict[str, nn.Module], metadata: dict[str, object]) -> None:
    """Writes a source checkpoint; ``discriminators`` by backbone name. Tensors are stored as float16 to halve the file."""
    tensors = {f"generator.{k}": v for k, v in generator.state_dict().items()}
    for backbone, discriminator in discriminators.items():
        state = discriminator.state_dict()
        tensors |= {f"discriminator.{backbone}.{k}": v for k, v in state.items() if not k.startswith("backbone.")}
    half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in tensors.items()}
    save_file(half, file, metadata={"gansweep": json.dumps(metadata)})


def load_source(file: Path, generator: nn.Module, discriminator: nn.Module, backbone: str) -> LoadReport:
    """Copies what fits by name and shape into ``generator`` and ``discriminator`` and reports the rest.

    Raises:
        ValueError: the file is missing, is not safetensors, or none of the generator's tensors fit.
    """
    tensors = read_source(file)
    reports = [
        _copy(generator, tensors, "generator."),
        _copy(discriminator, tensors, f"discriminator.{backbone}.", skip="backbone."),
    ]
    if not reports[0].copied:
        raise ValueError(f"{file} holds no tensor that fits this generator (resolution, channels or z_dim differ)")
    return LoadReport(*(a + b for a, b in zip(*reports, strict=True)))


def read_source(file: Path) -> dict[str, Tensor]:
    """The tensors of a source checkpoint, as float32.

    Raises:
        ValueError: the file is missing or is not safetensors.
    """
    if not file.is_file():
        raise ValueError(f"source checkpoint {file} does not exist")
    try:
        with safe_open(file, framework="pt") as handle:
            return {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"source checkpoint {file} is not a safetensors file: {error}") from error


def _copy(module: nn.Module, tensors: dict[str, Tensor], prefix: str, skip: str | None = None) -> LoadReport:
    copied: list[str] = []
    missing: list[str] = []
    mismatched: list[str] = []
    for name, own in module.state_dict().items():
        if skip and name.startswith(skip):
            continue
        given = tensors.get(prefix + name)
        if given is None:
            missing.append(prefix + name)
        elif given.shape != own.shape:
            mismatched.append(prefix + name)
        else:
            own.copy_(given)
            copied.append(prefix + name)
    return LoadReport(tuple(copied), tuple(missing), tuple(mismatched))
