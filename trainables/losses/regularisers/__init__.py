"""Regularisers of D and of G by name. A new one is a file and one line here."""

from __future__ import annotations

from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.generator_step import GeneratorStep
from trainables.losses.regularisers.base import Regulariser, RegulariserOptions
from trainables.losses.regularisers.feature_distillation import FeatureDistillation
from trainables.losses.regularisers.generator_distillation import GeneratorDistillation
from trainables.losses.regularisers.gradient_penalty import GradientPenalty
from trainables.losses.regularisers.l2_sp import L2SP
from trainables.losses.regularisers.lecam import Lecam
from trainables.losses.regularisers.path_length import PathLength
from trainables.losses.regularisers.zero_centred import R1, R2
from trainables.registry import Registry

__all__ = ["GENERATOR_REGULARISERS", "REGULARISERS", "Regulariser", "RegulariserOptions"]

REGULARISERS: Registry[type[Regulariser[DiscriminatorStep]]] = Registry(
    "regulariser",
    {
        "r1": R1,
        "r2": R2,
        "gradient_penalty": GradientPenalty,
        "lecam": Lecam,
        "l2_sp": L2SP,
        "feature_distillation": FeatureDistillation,
    },
)
GENERATOR_REGULARISERS: Registry[type[Regulariser[GeneratorStep]]] = Registry(
    "regulariser of the generator",
    {
        "path_length": PathLength,
        "l2_sp": L2SP,
        "feature_distillation": GeneratorDistillation,
    },
)
