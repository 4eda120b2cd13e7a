"""What a training step sees: this worker's share of a global batch, with all its random numbers.

Order, noise, degradation and augmentation of a sample are keyed by (seed, purpose, step, index in the global batch), so neither
the number of workers nor a restart changes them. A step's numbers and pictures are drawn on the CPU, one step ahead, and go to a
GPU in one copy (`trainables.parcel`); where all pictures fit there they are put there once, and only their indices travel.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trainables.augment import augmentation_numbers
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.losses import ADVERSARIAL
from trainables.parcel import Ahead, Parcel, packed
from trainables.randomness import batch_indices, keyed_generator, noise, sample_keys
from trainables.speed import free_memory
from trainables.tasks import Task

_UPLOAD = 256  # pictures at once


class Images(Protocol):
    """What a trainer needs of a data set."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """float32 [len(indices), C, H, W] in [-1, 1], on the CPU."""


@runtime_checkable
class Packed(Images, Protocol):
    """A data set of pictures as bytes (`trainables.data.ImageDataset`): a quarter of the memory and of the way to a GPU."""

    def pixels(self, indices: Tensor) -> Tensor:
        """uint8 [len(indices), C, H, W], on the CPU, of which `batch` is x / 127.5 - 1."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A worker's share of a global batch, or of a part of it. N images each, all on the device."""

    real: Tensor
    """What D is to call real, [N, 3, R, R] in [-1, 1]."""
    inputs_d: Tensor
    """G's inputs for the update of D: latents [N, z_dim] or conditions [N, C, R, R]."""
    inputs_g: Tensor
    """G's inputs for its own update."""
    target: Tensor
    """The pictures that were degraded into the conditions; ``real`` itself where there are none."""
    mix: Tensor
    """Uniform random numbers in [0, 1), [N], for what interpolates between real and generated images."""
    augmentation: Mapping[str, Tensor]
    """The random numbers by which D's images are augmented, uniform in [0, 1), [N, K], by purpose; see `purposes`."""

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in ``count`` parts of equal size."""
        chunks = {name: getattr(self, name).chunk(count) for name in ("real", "inputs_d", "inputs_g", "target", "mix")}
        numbers = {purpose: x.chunk(count) for purpose, x in self.augmentation.items()}
        for index in range(count):
            fields = {name: parts[index] for name, parts in chunks.items()}
            yield replace(self, **fields, augmentation={purpose: parts[index] for purpose, parts in numbers.items()})


class Batches:
    """Makes the batch of any step.

    Args:
        images: what is trained on, at ``config.resolution``.
        style: for style transfer, the style pictures; else None.
        z_dim: length of G's latents; 0 where G takes pictures.

    Attributes:
        places: each sample's place in what all workers compute at once of a batch, from 0 on.
    """

    def __init__(
        self,
        config: TrialConfig,
        task: Task,
        images: Images,
        style: Images | None,
        z_dim: int,
        collective: Collective,
        device: torch.device,
    ) -> None:
        self.config, self.task, self.device = config, task, device
        # Each part of the global batch is shared by the workers, so that what looks at a part sees the same samples whatever
        # their number.
        parts = torch.arange(config.batch_size).view(config.speed.micro_batches, -1)
        share = collective.share(parts.shape[1])
        self.share, self.places = parts[:, share].flatten(), range(share.start, share.stop)
        named = {"target": images} if style is None else {"target": images, "real": style}
        self._held = _held_by(device, named, config.speed.pictures_on_device)
        self._draws = _Draws(config, named, self._held.keys(), z_dim, self.share)
        # A CPU would only wait for its own thread.
        self._parcels = None if device.type == "cpu" else _ahead(self._draws, device, config.total_steps)

    def at(self, step: int) -> Batch:
        """This worker's share of global batch ``step``.

        Raises:
            ValueError: the pictures are not of ``config.resolution``.
        """
        drawn = self._draws(step) if self._parcels is None else self._parcels(step).on(self.device)
        target = self._pictures("target", drawn)
        if "keys" in drawn:
            drawn["d"] = drawn["g"] = self.task.degrade(target, drawn["keys"])
        return Batch(
            real=self._pictures("real", drawn) if "real" in drawn else target,
            inputs_d=drawn["d"],
            inputs_g=drawn["g"],
            target=target,
            mix=drawn["mix"],
            augmentation={purpose: drawn[f"augment {purpose}"] for purpose in purposes(self.config)},
        )

    def _pictures(self, name: str, drawn: Mapping[str, Tensor]) -> Tensor:
        pictures = self._held[name].index_select(0, drawn[name]) if name in self._held else drawn[name]
        if pictures.shape[-2:] != (self.config.resolution,) * 2:
            raise ValueError(
                f"the data set's images must be {self.config.resolution} px a side, but are {tuple(pictures.shape[-2:])}"
            )
        return pictures.float().div_(127.5).sub_(1.0) if pictures.dtype == torch.uint8 else pictures


class _Draws:
    """All that a step needs from the host, by name, on the CPU: a function of the step alone.

    Args:
        images: by name.
        held: names of those that are on the device, of which the indices are enough.
        share: this worker's rows of a global batch.
    """

    def __init__(
        self, config: TrialConfig, images: Mapping[str, Images], held: Collection[str], z_dim: int, share: Tensor
    ) -> None:
        self.config, self.images, self.held, self.z_dim, self.share = config, images, held, z_dim, share

    def __call__(self, step: int) -> dict[str, Tensor]:
        config, share = self.config, self.share
        drawn: dict[str, Tensor] = {}
        for name, images in self.images.items():
            indices = batch_indices(len(images), config.batch_size, config.seed, step)[share]
            if getattr(images, "native", False):  # crops, at places of their own
                indices = images.pixels(indices, sample_keys(share, config.seed, "crop", name, step))  # type: ignore[attr-defined]
            elif name not in self.held:
                indices = images.pixels(indices) if isinstance(images, Packed) else images.batch(indices)
            drawn[name] = indices
        if self.z_dim:
            drawn |= {who: noise(config.batch_size, self.z_dim, config.seed, who, step)[share] for who in ("d", "g")}
        else:
            drawn["keys"] = sample_keys(share, config.seed, "degrade", step)
        drawn["mix"] = torch.rand(config.batch_size, generator=keyed_generator(config.seed, "mix", step))[share]
        for purpose in purposes(config):
            generator = keyed_generator(config.seed, "augment", purpose, step)
            drawn[f"augment {purpose}"] = augmentation_numbers(config.batch_size, config.augment, generator)[share]
        return drawn


def _ahead(draws: _Draws, device: torch.device, steps: int) -> Ahead[Parcel]:
    # A thread begins on the first GPU, where pinning memory would take some hundred megabytes for every worker of the node.
    begin = functools.partial(torch.cuda.set_device, device) if device.type == "cuda" and device.index is not None else None
    return Ahead(functools.partial(_parcel, draws, device), steps, begin)


def _parcel(draws: _Draws, device: torch.device, step: int) -> Parcel:
    return packed(draws(step), pin_memory=device.type == "cuda")


def purposes(config: TrialConfig) -> list[str]:
    """What a trial augments in a step, each with random numbers of its own.

    Two pictures of one condition are moved alike, so that regularisers of D can look at either, or between them, beside it.
    """
    if not config.augment:
        return []
    fake = [] if config.discriminator.conditional else ["d_fake"]
    return ["d_real", *fake, "g", *(["g_real"] if ADVERSARIAL[config.adversarial].needs_real else [])]


def _held_by(device: torch.device, images: Mapping[str, Images], share: float) -> dict[str, Tensor]:
    """All pictures on the device, as bytes, where they take no more than ``share`` of its free memory; else nothing."""
    kinds = {name: x for name, x in images.items() if isinstance(x, Packed) and not getattr(x, "native", False)}
    if len(kinds) < len(images) or any(len(x) == 0 for x in kinds.values()):
        return {}
    size = sum(len(x) * x.pixels(torch.zeros(1, dtype=torch.int64)).nbytes for x in kinds.values())
    if size > share * free_memory(device):
        return {}
    return {name: _uploaded(x, device) for name, x in kinds.items()}


def _uploaded(images: Packed, device: torch.device) -> Tensor:
    shape = images.pixels(torch.zeros(1, dtype=torch.int64)).shape[1:]
    held = torch.empty((len(images), *shape), dtype=torch.uint8, device=device)
    for indices in torch.arange(len(images)).split(_UPLOAD):
        held[int(indices[0]) : int(indices[-1]) + 1] = images.pixels(indices)
    return held
