"""DiffAugment (Zhao et al. 2020): differentiable augmentation of what D sees, real and fake alike.

Parameters are drawn for the global batch from a keyed generator, so neither workers nor restarts change them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.augment.policies import POLICIES

_UNIFORMS = 4  # random numbers per sample and policy: three for the policy, the last decides whether it is applied


def augmentation_numbers(count: int, policies: Sequence[str], generator: torch.Generator) -> Tensor:
    """The random numbers for ``count`` samples, uniform in [0, 1), [count, len(policies), 4]."""
    return torch.rand(count, len(policies), _UNIFORMS, generator=generator)


def diff_augment(
    images: Tensor,
    policies: Sequence[str],
    numbers: Tensor,
    p: Tensor | float | None = None,
    image_channels: int | None = None,
) -> Tensor:
    """Applies ``policies`` in order.

    Args:
        images: [N, C, H, W] in [-1, 1]; with a condition, both concatenated along the channels, image first.
        policies: names in `POLICIES`.
        numbers: as from `augmentation_numbers`, [N, len(policies), 4].
        p: with which probability each policy is applied to each sample, in [0, 1] (ADA's p); always when None.
        image_channels: how many channels are the image's. Geometric policies treat the channels beyond, a condition's, alike;
            the others leave them as they are. All channels when None.

    Raises:
        ValueError: an unknown policy.
    """
    for index, name in enumerate(policies):
        policy, u = POLICIES[name], numbers[:, index].to(images.device)
        split = images.shape[1] if policy.geometric or image_channels is None else image_channels
        changed = policy.apply(images[:, :split], u)
        if split < images.shape[1]:
            changed = torch.cat([changed, images[:, split:]], dim=1)
        images = changed if p is None else torch.where(u[:, 3].view(-1, 1, 1, 1) < p, changed, images)
    return images
