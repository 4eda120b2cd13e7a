"""Augmentation of what D sees. A new policy is a file and one line in `policies.POLICIES`."""

from __future__ import annotations

from trainables.augment.adaptive import AdaptiveAugment, AdaptiveOptions
from trainables.augment.diff_augment import augmentation_numbers, diff_augment
from trainables.augment.policies import POLICIES

__all__ = ["POLICIES", "AdaptiveAugment", "AdaptiveOptions", "augmentation_numbers", "diff_augment"]
