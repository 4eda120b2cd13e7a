"""What fine-tuning starts from: a source checkpoint, an earlier export, or a trial's checkpoint.

A source checkpoint is one safetensors file. Names are ``generator.<parameter>`` and ``discriminator.<backbone>.<parameter>``; D's
pretrained trunk is not in it, so a file can hold heads for several backbones. The metadata hold the generator's options as JSON.
Whatever the start, tensors are copied by name where their shapes fit, and the rest is reported. A trial whose G is pretrained in
name only looks like any other from outside, so a source that gives a part of G alone comes with a warning (`partial_start`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.digest import tensors_digest
from trainables.discriminators.discriminator import in_trunk
from trainables.export_files import WEIGHTS, read_files
from trainables.storage import Storage

_METADATA, _DIGEST = "gansweep", "digest"
_NAMED = 3  # tensors that a warning names of each kind
_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)  # of the one asked for, that are tried for a better fit


class LoadReport(NamedTuple):
    """What a source gave: names of the tensors copied, and of those that kept their initial values."""

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    generator_share: float
    """How much of G, counted in values, comes from the source, 0..1."""

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
        save_file(half, part, metadata={_METADATA: json.dumps(metadata | {_DIGEST: tensors_digest(half)})})
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
    ours = compare(generator, tensors)
    if not ours.copied:
        raise ValueError(f"{file} holds no tensor that fits this generator (resolution, channels or z_dim differ)")
    heads = compare(discriminator, tensors, f"discriminator.{backbone}.", needs_trunk=False)
    for module, report, prefix in (generator, ours, "generator."), (discriminator, heads, f"discriminator.{backbone}."):
        own = module.state_dict()
        for name in report.copied:
            own[name.removeprefix(prefix)].copy_(tensors[name])
    return LoadReport(
        ours.copied + heads.copied, ours.missing + heads.missing, ours.mismatched + heads.mismatched, ours.generator_share
    )


def partial_start(source: str | Path, report: LoadReport, options: BaseModel, build: Callable[[Any], nn.Module]) -> str | None:
    """The warning for a source that gives a part of G alone: how much, what not, and a width that takes more of it.

    Where G makes pictures from noise its width is counted from the output, so that a source of half the resolution fits at half
    the width: its stages of low resolution are found there again.

    Args:
        report: of loading ``source``.
        options: of the generator.
        build: makes another generator of such options.

    Returns:
        None where the source gives all of G.
    """
    left = [[name for name in names if name.startswith("generator.")] for names in (report.mismatched, report.missing)]
    if not any(left):
        return None
    copied = sum(name.startswith("generator.") for name in report.copied)
    total = copied + sum(map(len, left))
    kinds = zip(("of another shape", "not in the source"), left, strict=True)
    named = "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)
    text = (
        f"the source {source} gives {copied} of the {total} tensors of G, {report.generator_share:.1%} of its values; the rest "
        f"starts from random values ({named})"
    )
    if report.generator_share < 0.5:
        text = f"G is hardly pretrained: {text}"
    width, share = _better_width(report, read_source(Path(source)), options, build)
    return text if width is None else f"{text}. With generator.channels: {width} it would give {share:.1%}"


def _better_width(
    report: LoadReport, tensors: dict[str, Tensor], options: BaseModel, build: Callable[[Any], nn.Module]
) -> tuple[int | None, float]:
    """The width with which the source gives most of a generator from noise, and how much of it; None: no better one was found."""
    best: tuple[int | None, float] = (None, report.generator_share)
    asked = getattr(options, "channels", None)
    if asked is None or not hasattr(options, "z_dim"):
        return best
    for channels in (int(asked * factor) for factor in _WIDTHS if asked * factor >= 1):
        with torch.device("meta"):
            share = compare(build(options.model_copy(update={"channels": channels})), tensors).generator_share
        if share > best[1]:
            best = channels, share
    return best


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(name.removeprefix("generator.") for name in names[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


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
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
            metadata = json.loads((handle.metadata() or {}).get(_METADATA, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"source checkpoint {source} is not a safetensors file: {error}") from error
    # Files of other tools and of earlier versions have none.
    digest = metadata.get(_DIGEST) if isinstance(metadata, dict) else None
    if digest is not None and digest != tensors_digest(tensors):
        raise ValueError(f"source checkpoint {source} is damaged: its digest is not that of its tensors")
    return {name: tensor.float() for name, tensor in tensors.items()}


def _read_export(folder: Path) -> dict[str, Tensor]:
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"source {folder} is a folder, but no export: it has no {WEIGHTS}")
    try:
        return {f"generator.{name}": tensor.float() for name, tensor in read_files(folder)[0].items()}
    except ValueError as error:
        raise ValueError(f"source: {error}") from error


def _read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The averaged generator of a trial and, of a full checkpoint, its discriminator."""
    try:
        content = Storage(file.parent).load(file.name)
        state = content.get("trainer", content)
        generator, discriminator, backbone = state["ema"], state.get("discriminator", {}), state.get("backbone")
        tensors = {f"generator.{name}": tensor.float() for name, tensor in generator.items()}
        return tensors | {f"discriminator.{backbone}.{name}": tensor.float() for name, tensor in discriminator.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"source {file} is no checkpoint of a trial: {error}") from error


def compare(module: nn.Module, tensors: dict[str, Tensor], prefix: str = "generator.", needs_trunk: bool = True) -> LoadReport:
    """Which of the module's tensors a source holds under ``prefix`` in their shape. Changes nothing; the share is of this module.

    Args:
        needs_trunk: whether tensors of a pretrained trunk are missed where they are not in the source.
    """
    copied: list[str] = []
    missing: list[str] = []
    mismatched: list[str] = []
    values = given_values = 0
    for name, own in module.state_dict().items():
        given = tensors.get(prefix + name)
        values += own.numel()
        if given is None:
            if needs_trunk or not in_trunk(name):
                missing.append(prefix + name)
        elif given.shape != own.shape:
            mismatched.append(prefix + name)
        else:
            given_values += own.numel()
            copied.append(prefix + name)
    return LoadReport(tuple(copied), tuple(missing), tuple(mismatched), given_values / max(values, 1))
