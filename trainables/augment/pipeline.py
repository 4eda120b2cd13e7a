"""Differentiable augmentation of what D sees, real and fake alike (Zhao et al. 2020; Karras et al. 2020).

Random numbers are drawn for the global batch from a keyed generator, so neither workers nor restarts change them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.augment.policies import POLICIES
from trainables.augment.policy import Probability


def augmentation_numbers(count: int, policies: Sequence[str], generator: torch.Generator) -> Tensor:
    """The random numbers for ``count`` samples, uniform in [0, 1): a row for each, as long as the policies ask for."""
    return torch.rand(count, sum(POLICIES[name].numbers for name in policies), generator=generator)


def augmented(
    images: Tensor, policies: Sequence[str], numbers: Tensor, p: Probability = 1.0, image_channels: int | None = None
) -> Tensor:
    """Applies ``policies`` in order.

    Args:
        images: [N, C, H, W] in [-1, 1]; with a condition, both concatenated along the channels, image first.
        policies: names in `POLICIES`.
        numbers: as from `augmentation_numbers`, on the images' device.
        p: with which probability each policy, or each of its transformations, happens to each sample, in [0, 1] (ADA's p).
        image_channels: how many channels are the image's. Geometric policies treat the channels beyond, a condition's, alike;
            the others leave them as they are. All channels when None.

    Raises:
        ValueError: an unknown policy.
    """
    chosen = [POLICIES[name] for name in policies]
    parts = numbers.split([policy.numbers for policy in chosen], dim=1)
    for policy, u in zip(chosen, parts, strict=True):
        split = images.shape[1] if policy.geometric or image_channels is None else image_channels
        changed = policy.apply(images[:, :split], u, p)
        images = torch.cat([changed, images[:, split:]], dim=1) if split < images.shape[1] else changed
    return images


def augmented_alike(
    images: Tensor, condition: Tensor | None, policies: Sequence[str], numbers: Tensor, p: Probability
) -> tuple[Tensor, Tensor | None]:
    """What D sees of images [N, C, H, W] and of the condition that it may look at, moved alike; see `augmented`."""
    if condition is None:
        return augmented(images, policies, numbers, p), None
    channels = images.shape[1]
    both = augmented(torch.cat([images, condition], dim=1), policies, numbers, p, image_channels=channels)
    return both[:, :channels], both[:, channels:]
