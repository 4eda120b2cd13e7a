"""TrialConfig: everything one trial needs, validated at construction. A component's options sit beside the component."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from trainables.augment import POLICIES
from trainables.backbones import BACKBONES
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS, Frame
from trainables.losses import ADVERSARIAL, FeatureLossOptions
from trainables.optim import EmaOptions, OptimizerOptions
from trainables.registry import Options, names_of, options_union, unknown_name

if TYPE_CHECKING:  # the members of these types are the registries' entries, which only run time knows
    AdversarialName: TypeAlias = str
    BackboneName: TypeAlias = str
    PolicyName: TypeAlias = str
    GeneratorOptions: TypeAlias = Any
    DiscriminatorOptions: TypeAlias = Any
else:
    AdversarialName, BackboneName, PolicyName = names_of(ADVERSARIAL), names_of(BACKBONES), names_of(POLICIES)
    GeneratorOptions, DiscriminatorOptions = options_union(GENERATORS), options_union(DISCRIMINATORS)


class EvaluationOptions(Options):
    """When and by what a trial is judged."""

    metric: str
    """Full name of the metric that drives the search, e.g. ``fid[efficientnet_lite2,64px,n=500]``; lower is better."""
    also: tuple[str, ...] = ()
    """Further metrics to report."""
    every_kimg: float = Field(0.5, gt=0, allow_inf_nan=False)
    """Thousand images between evaluations, each of which writes a checkpoint."""
    preview: int = Field(64, ge=1)
    """Pictures in the fixed-noise grid of each evaluation."""


class TrialConfig(Options):
    """One GAN fine-tuning run. ``kimg`` (thousand real images shown to D) is its only clock."""

    task: Literal["generation"] = "generation"
    """What G does: "generation" makes images from noise."""
    resolution: int = Field(ge=8)
    """Side of the square images in pixels."""
    kimg: float = Field(gt=0, allow_inf_nan=False)
    """Length of the run in thousand images."""
    batch_size: int = Field(32, ge=1)
    """Images per step over all workers together; more workers make a trial faster, never different."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation, noise, augmentation and order."""
    backbone: BackboneName = "efficientnet_lite0"
    """The pretrained network: D's trunk and the feature extractor of the feature distance."""
    weights: str = "pretrained"
    """"pretrained", "random", or the path of a state dict."""
    source: str | None = None
    """A ``.safetensors`` source checkpoint that G and D start from; None starts G and D's heads from scratch."""
    generator: GeneratorOptions = GENERATORS["compact"].Options()
    discriminator: DiscriminatorOptions = DISCRIMINATORS["trunk"].Options()
    adversarial: AdversarialName = "non_saturating"
    feature_loss: FeatureLossOptions = FeatureLossOptions()
    augment: tuple[PolicyName, ...] = ("color", "translation", "cutout")
    """DiffAugment policies, in order."""
    optimizer: OptimizerOptions = OptimizerOptions()
    ema: EmaOptions = EmaOptions()
    evaluation: EvaluationOptions

    @model_validator(mode="after")
    def _fits_backbone(self) -> TrialConfig:
        problems = self.backbone_problems() + self.resolution_problems()
        if problems:
            raise ValueError("; ".join(f"{key}: {message}" for key, message in problems))
        return self

    def backbone_problems(self) -> list[tuple[str, str]]:
        """What the chosen backbone cannot do, as (dotted key, message)."""
        info = BACKBONES[self.backbone]
        problems = [
            ("feature_loss.layers", unknown_name(f"layer of {info.name}", name, info.layer_names))
            for name in self.feature_loss.layers
            if name not in info.layer_names
        ]
        for key in ("frozen_depth", "scales"):
            value = getattr(self.discriminator, key, 0)
            if value > info.depth:
                problems.append((f"discriminator.{key}", f"must be <= {info.depth}, the stages of {info.name}, but got {value}"))
        return problems

    def resolution_problems(self) -> list[tuple[str, str]]:
        """What the chosen generator cannot do at this resolution, as (dotted key, message)."""
        problem = GENERATORS[self.generator.name].unfit(self.generator, Frame(self.resolution), BACKBONES[self.backbone])
        return [("resolution", problem)] if problem else []

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self._steps(self.kimg)

    def evaluation_steps(self) -> list[int]:
        """The steps after which the trial is evaluated, increasing; the last is the end of the run."""
        count = max(1, math.floor(self.kimg / self.evaluation.every_kimg + 1e-9))
        steps = [self._steps(j * self.evaluation.every_kimg) for j in range(1, count + 1)]
        return sorted({*(s for s in steps if s < self.total_steps), self.total_steps})

    def _steps(self, kimg: float) -> int:
        """The steps that show at least ``kimg``. Rounded first: 0.3 is 3 * 0.1 less a little, which must not cost a step."""
        return math.ceil(round(kimg * 1000 / self.batch_size, 6))
