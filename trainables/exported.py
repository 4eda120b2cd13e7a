"""Exported generators: a folder of ``generator.safetensors``, ``config.json`` and ``samples.png`` that samples without a sweep.

Neither Ray nor Optuna is imported here or by what this imports.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from trainables.export_files import CONFIG, SAMPLES, WEIGHTS, read_files, write_files
from trainables.generators import GENERATORS
from trainables.layers.adapters import merged
from trainables.networks import build_generator, build_task, device_of
from trainables.pictures import grid, png
from trainables.randomness import indexed_noise
from trainables.registry import options_union
from trainables.tasks import TASKS, Task
from trainables.tiling import Tiling


def save_export(folder: Path, state: dict[str, Tensor], config: dict[str, Any], samples: Tensor | None = None) -> None:
    """Writes an export so that it is there whole or not at all.

    Args:
        folder: made by this call; an earlier export there is replaced.
        state: the averaged generator's state dict; what adapters have learnt goes into the network that they sit beside.
        config: at least ``task`` and ``generator`` (their options), ``backbone`` and ``resolution``; the rest says where it
            comes from.
        samples: the picture of ``samples.png``, uint8 [3, H, W]; made here when None, for generators from noise.
    """
    state, config = merged(state), config | {"generator": _plain(config["generator"])}
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        part.chmod(0o755)
        write_files(part, state, config)
        generator, _ = load_export(part)
        if samples is None:
            samples = grid(sample(generator, range(64)), scale=enlargement(config["resolution"]))
        (part / SAMPLES).write_bytes(png(samples))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """A generator's options without those that say how it was trained, and so without adapters."""
    training: frozenset[str] = getattr(GENERATORS[options["name"]].Options, "TRAINING", frozenset())
    return {key: value for key, value in options.items() if key not in training}


def is_export(folder: Path) -> bool:
    """Whether ``folder`` holds an export's files and nothing else."""
    return {file.name for file in folder.iterdir()} == {WEIGHTS, CONFIG, SAMPLES}


def load_export(folder: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The generator of an export, ready to sample, and its config.

    Raises:
        ValueError: the folder is no export, or a damaged one; the message names the file.
    """
    state, config = read_files(folder)
    generator = _build(folder / CONFIG, config)
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged: {error}") from error
    return generator.to(device).requires_grad_(False), config


def _build(file: Path, config: dict[str, Any]) -> nn.Module:
    try:
        options = TypeAdapter(options_union(GENERATORS)).validate_python(config["generator"])
        backbone = TypeAdapter(str).validate_python(config["backbone"], strict=True)
        return build_generator(options, task_of(config), backbone)
    except (KeyError, ValueError) as error:  # a key that is missing, or a value that the generator does not take
        raise ValueError(f"{file} is damaged: {error}") from error


def task_of(config: dict[str, Any]) -> Task:
    """The task of an export.

    Raises:
        ValueError, KeyError: its options or the resolution are missing or wrong.
    """
    resolution = TypeAdapter(int).validate_python(config["resolution"], strict=True)
    return build_task(TypeAdapter(options_union(TASKS)).validate_python(config["task"]), resolution)


def apply(generator: nn.Module, task: Task, picture: Tensor, megapixels: float = math.inf) -> Tensor:
    """What an image-to-image generator makes of a picture: float32 [3, H', W'] in [-1, 1], on the CPU.

    Args:
        picture: [channels of `Task.picture_mode`, H, W] in [-1, 1].
        megapixels: of the result that are made at once, with about a GB of memory for each; a larger one is made of tiles.

    Raises:
        ValueError: the picture is none that the task takes, or too large for what cannot be made of tiles.
    """

    def read(top: int, left: int, bottom: int, right: int) -> Tensor:
        return picture[:, top:bottom, left:right]

    return torch.cat(list(Tiling(generator, task, megapixels).bands(read, *picture.shape[-2:])), dim=1)


@torch.no_grad()
def sample(
    generator: nn.Module,
    indices: range,
    seed: int = 0,
    batch_size: int = 64,
    truncation: float = 1.0,
    label: int | None = None,
) -> Tensor:
    """Pictures number ``indices`` of the endless sequence that ``seed`` names: float32 [N, C, H, W] in [-1, 1], on the CPU.

    Args:
        label: the class of all of them; None takes the classes in turn, where there are any.

    Raises:
        ValueError: the generator takes pictures, not noise, or has no such class, or no truncation.
    """
    device = device_of(generator)
    z_dim: int = generator.z_dim  # type: ignore[assignment]
    if z_dim == 0:
        raise ValueError("this generator takes pictures, not noise: use `gansweep apply EXPORT PICTURE...`")
    parts = []
    for start in range(indices.start, indices.stop, batch_size):
        numbers = torch.arange(start, min(start + batch_size, indices.stop))
        labels = _labels(generator, numbers, label)
        z = indexed_noise(numbers, z_dim, seed, "export").to(device)
        images = generator(z, None if labels is None else labels.to(device), truncation=truncation)
        parts.append(images.clamp(-1, 1).cpu())
    return torch.cat(parts)


def _labels(generator: nn.Module, numbers: Tensor, label: int | None) -> Tensor | None:
    """One-hot, [N, classes]; None where there are no classes."""
    classes: int = generator.c_dim  # type: ignore[assignment]
    if label is not None and not 0 <= label < classes:
        choices = (
            f"must be one of its {classes} classes, 0 to {classes - 1}" if classes else "must be left out: it has no classes"
        )
        raise ValueError(f"the label of this generator {choices}, but got {label}")
    if not classes:
        return None
    return F.one_hot(numbers % classes if label is None else torch.full_like(numbers, label), classes).float()


def enlargement(resolution: int) -> int:
    """How many times to enlarge small pictures so that a person can see them: up to 96 pixels a side."""
    return max(1, 96 // resolution)
