"""Augmentation of what D sees. A new policy is a file and one line in `policies.POLICIES`."""

from __future__ import annotations

from trainables.augment.adaptive import AdaptiveAugment, AdaptiveOptions
from trainables.augment.pipeline import augmentation_numbers, augmented, augmented_alike
from trainables.augment.policies import PIPELINES, POLICIES

__all__ = ["PIPELINES", "POLICIES", "AdaptiveAugment", "AdaptiveOptions", "augmentation_numbers", "augmented", "augmented_alike"]
