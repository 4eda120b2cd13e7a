"""Losses by name. A new one is one file and one line: here, in `regularisers` or in `feature_forms`."""

from __future__ import annotations

from trainables.losses.adversarial import (
    AdversarialLoss,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    relativistic,
    wasserstein,
)
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.feature_forms import FEATURE_DISTANCES, FEATURE_FORMS
from trainables.losses.feature_loss import FeatureLossOptions, feature_loss
from trainables.losses.generator_step import GeneratorStep
from trainables.losses.gram import gram_distance, gram_matrices
from trainables.losses.reconstruction import ReconstructionLoss, charbonnier, l1, l2
from trainables.losses.regularisers import GENERATOR_REGULARISERS, REGULARISERS, Regulariser
from trainables.registry import Registry

__all__ = [
    "ADVERSARIAL",
    "FEATURE_DISTANCES",
    "FEATURE_FORMS",
    "GENERATOR_REGULARISERS",
    "RECONSTRUCTION",
    "REGULARISERS",
    "AdversarialLoss",
    "DiscriminatorStep",
    "FeatureLossOptions",
    "GeneratorStep",
    "ReconstructionLoss",
    "Regulariser",
    "feature_loss",
    "gram_distance",
    "gram_matrices",
]

ADVERSARIAL: Registry[AdversarialLoss] = Registry(
    "adversarial loss",
    {
        "minimax": minimax,
        "non_saturating": non_saturating,
        "hinge": hinge,
        "least_squares": least_squares,
        "wasserstein": wasserstein,
        "relativistic": relativistic,
    },
)
RECONSTRUCTION: Registry[ReconstructionLoss] = Registry("reconstruction loss", {"l1": l1, "l2": l2, "charbonnier": charbonnier})
