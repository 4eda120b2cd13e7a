"""What a training step sees: this worker's share of a global batch, with all its random numbers.

Order, noise, degradation and augmentation of a sample are keyed by (seed, purpose, step, index in the global batch), so neither
the number of workers nor a restart changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from trainables.augment import augmentation_numbers, augmented
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.randomness import batch_indices, keyed_generator, noise, sample_keys
from trainables.tasks import Task


class Images(Protocol):
    """What a trainer needs of a data set (`trainables.data.ImageDataset`)."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """float32 [len(indices), C, H, W] in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A worker's share of a global batch, or of a part of it. N images each, on the device."""

    real: Tensor
    """What D is to call real, [N, 3, R, R] in [-1, 1]."""
    inputs_d: Tensor
    """G's inputs for the update of D: latents [N, z_dim] or conditions [N, C, R, R]."""
    inputs_g: Tensor
    """G's inputs for its own update."""
    target: Tensor
    """The pictures that were degraded into the conditions; ``real`` itself where there are none."""
    rows: Tensor
    """Which rows of the worker's share these are, int64 [N], on the CPU."""

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch in ``count`` parts of equal size."""
        chunks = {f.name: getattr(self, f.name).chunk(count) for f in fields(self)}
        for index in range(count):
            yield Batch(**{name: parts[index] for name, parts in chunks.items()})


class Batches:
    """Makes the batch of any step.

    Args:
        images: what is trained on, at ``config.resolution``.
        style: for style transfer, the style pictures; else None.
        z_dim: length of G's latents; 0 where G takes pictures.
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
        self.config, self.task, self.images, self.style, self.z_dim = config, task, images, style, z_dim
        self.device = device
        # Each part of the global batch is shared by the workers, so that what looks at a part sees the same samples whatever
        # their number.
        parts = torch.arange(config.batch_size).view(config.speed.micro_batches, -1)
        self.share = parts[:, collective.share(parts.shape[1])].flatten()

    def at(self, step: int) -> Batch:
        """This worker's share of global batch ``step``."""
        target = self._pictures(self.images, step)
        if self.task.in_channels == 0:
            inputs_d, inputs_g = self._latents("d", step), self._latents("g", step)
        else:
            keys = sample_keys(self.share.to(self.device), self.config.seed, "degrade", step)
            inputs_d = inputs_g = self.task.degrade(target, keys)
        return Batch(
            real=target if self.style is None else self._pictures(self.style, step),
            inputs_d=inputs_d,
            inputs_g=inputs_g,
            target=target,
            rows=torch.arange(len(target)),
        )

    def augment(
        self, images: Tensor, condition: Tensor | None, purpose: str, step: int, rows: Tensor, p: Tensor | float
    ) -> tuple[Tensor, Tensor | None]:
        """What D sees: images [N, 3, R, R] and the condition it may look at, moved alike.

        Args:
            rows: which of the share's rows they are.
            p: with which probability each policy, or each of its transformations, happens to each sample.
        """
        policies = self.config.augment
        if not policies:
            return images, condition
        generator = keyed_generator(self.config.seed, "augment", purpose, step)
        numbers = augmentation_numbers(self.config.batch_size, policies, generator)[self.share][rows]
        if condition is None:
            return augmented(images, policies, numbers, p), None
        channels = images.shape[1]
        both = augmented(torch.cat([images, condition], dim=1), policies, numbers, p, image_channels=channels)
        return both[:, :channels], both[:, channels:]

    def mix(self, step: int, rows: Tensor) -> Tensor:
        """Uniform random numbers in [0, 1), [N], for what interpolates between real and generated images."""
        numbers = torch.rand(self.config.batch_size, generator=keyed_generator(self.config.seed, "mix", step))
        return numbers[self.share][rows].to(self.device)

    def places(self, rows: Tensor) -> Tensor:
        """Each sample's place in what all workers compute at once of a batch, int64 [N], on the CPU."""
        return self.share[rows] % (self.config.batch_size // self.config.speed.micro_batches)

    def _latents(self, purpose: str, step: int) -> Tensor:
        return noise(self.config.batch_size, self.z_dim, self.config.seed, purpose, step)[self.share].to(self.device)

    def _pictures(self, images: Images, step: int) -> Tensor:
        indices = batch_indices(len(images), self.config.batch_size, self.config.seed, step)
        pictures = images.batch(indices[self.share])
        if pictures.shape[-2:] != (self.config.resolution,) * 2:
            raise ValueError(
                f"the data set's images must be {self.config.resolution} px a side, but are {tuple(pictures.shape[-2:])}"
            )
        return pictures.to(self.device)
