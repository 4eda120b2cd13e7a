"""Losses. A new adversarial objective is an `AdversarialLoss` and one line here."""

from __future__ import annotations

from trainables.losses.adversarial import AdversarialLoss, hinge, non_saturating
from trainables.losses.feature_distance import FeatureLossOptions, Moments, feature_distance, moments
from trainables.registry import Registry

__all__ = ["ADVERSARIAL", "FeatureLossOptions", "Moments", "feature_distance", "moments"]

ADVERSARIAL: Registry[AdversarialLoss] = Registry("adversarial loss", {"non_saturating": non_saturating, "hinge": hinge})
