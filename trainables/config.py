"""TrialConfig: everything one trial needs, validated at construction. A component's options sit beside the component."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from trainables.augment import PIPELINES, POLICIES, AdaptiveOptions
from trainables.backbones import BACKBONES
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS
from trainables.guards import GuardOptions
from trainables.losses import ADVERSARIAL, GENERATOR_REGULARISERS, RECONSTRUCTION, REGULARISERS, FeatureLossOptions
from trainables.optim import EmaOptions, OptimizerOptions
from trainables.registry import Options, names_of, options_union, unknown_name
from trainables.regulariser_fit import regulariser_problems
from trainables.source import architecture_of
from trainables.speed import SpeedOptions
from trainables.tasks import TASKS

if TYPE_CHECKING:  # the members of these types are the registries' entries, which only run time knows
    AdversarialName: TypeAlias = str
    PolicyName: TypeAlias = str
    ReconstructionName: TypeAlias = str
    TaskOptions: TypeAlias = Any
    GeneratorOptions: TypeAlias = Any
    DiscriminatorOptions: TypeAlias = Any
    RegulariserOptions: TypeAlias = Any
    GeneratorRegulariserOptions: TypeAlias = Any
else:
    AdversarialName, PolicyName, ReconstructionName = names_of(ADVERSARIAL), names_of(POLICIES), names_of(RECONSTRUCTION)
    TaskOptions, GeneratorOptions = options_union(TASKS), options_union(GENERATORS)
    DiscriminatorOptions, RegulariserOptions = options_union(DISCRIMINATORS), options_union(REGULARISERS)
    GeneratorRegulariserOptions = options_union(GENERATOR_REGULARISERS)


NETWORKS = ("generator", "discriminator")


class EvaluationOptions(Options):
    """When and by what a trial is judged."""

    metric: str
    """Full name of the metric that drives the search, e.g. ``fid[efficientnet_lite2,64px,n=500]`` or ``psnr[n=64]``."""
    also: tuple[str, ...] = ()
    """Further metrics to report."""
    every_kimg: float = Field(0.5, gt=0, allow_inf_nan=False)
    """Thousand images between evaluations, each of which writes a checkpoint."""
    preview: int = Field(64, ge=1)
    """Pictures in the fixed-noise grid of each evaluation; of a task that restores pictures, rows of input, output and target."""

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, the driving one first."""
        return (self.metric, *self.also)


class ReconstructionOptions(Options):
    """The distance of a restored picture to its target."""

    name: ReconstructionName = "l1"
    """An entry of `trainables.losses.RECONSTRUCTION`."""
    weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Its weight in G's loss; 0 turns it off."""


class TrialConfig(Options):
    """One GAN fine-tuning run. ``kimg`` (thousand real images shown to D) is its only clock.

    What is not given comes from the task's ``DEFAULTS`` first, and then from the fields' own.
    """

    task: TaskOptions = TASKS["generation"].Options()
    """What G does, and its options; a name alone stands for its defaults."""
    resolution: int = Field(ge=8)
    """Side of the square images in pixels."""
    kimg: float = Field(gt=0, allow_inf_nan=False)
    """Length of the run in thousand images."""
    batch_size: int = Field(32, ge=1)
    """Images per step over all workers together; more workers make a trial faster, never different."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation, noise, degradation, augmentation and order."""
    backbone: str = "efficientnet_lite0"
    """The pretrained network: trunk of D, and of G where it has one, and extractor of the feature distance. An entry of
    `trainables.backbones.BACKBONES`, ``timm/NAME`` or ``torchvision/NAME``."""
    weights: str = "pretrained"
    """"pretrained", "random", or the path of a state dict."""
    source: str | None = None
    """What G and D start from: a source checkpoint (``.safetensors``), an export's folder, or a trial's checkpoint (``.pt``);
    None starts them as their components say. Its networks are the defaults of ``generator`` and ``discriminator``."""
    source_fit: Literal["whole", "partial"] = "whole"
    """Whether the source must give all of G, and of a D of its own kind, or may give what fits."""
    generator: GeneratorOptions = GENERATORS["compact"].Options()
    discriminator: DiscriminatorOptions = DISCRIMINATORS["trunk"].Options()
    adversarial: AdversarialName = "non_saturating"
    regularisers: tuple[RegulariserOptions, ...] = ()
    """What is added to D's loss."""
    generator_regularisers: tuple[GeneratorRegulariserOptions, ...] = ()
    """What is added to G's loss."""
    feature_loss: FeatureLossOptions = FeatureLossOptions()
    reconstruction: ReconstructionOptions = ReconstructionOptions()
    pretrain_kimg: float = Field(0.0, ge=0, allow_inf_nan=False)
    """Thousand images at the beginning on which G trains alone, on feature distance and reconstruction (NoGAN)."""
    pretrain_critic_kimg: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Thousand images after those on which D trains alone, on what G makes by now, before G learns from it (NoGAN's critic); None
    takes a fifth of ``pretrain_kimg``."""
    augment: tuple[PolicyName, ...] = ("color", "translation", "cutout")
    """What D's pictures go through, in order; or, as text, a pipeline of StyleGAN2-ADA by its name there: "bg", "bgc", "bgcf",
    "bgcfn" or "bgcfnc"."""
    augment_p: float = Field(1.0, ge=0, le=1)
    """With which probability a policy, or each transformation that it is made of, happens to a picture; for ADA's at most 0.8."""
    adaptive: AdaptiveOptions | None = None
    """Lets that probability follow D's overfitting (ADA); None leaves it as it is."""
    optimizer: OptimizerOptions = OptimizerOptions()
    ema: EmaOptions = EmaOptions()
    speed: SpeedOptions = SpeedOptions()
    guards: GuardOptions = GuardOptions()
    evaluation: EvaluationOptions

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, data: Any) -> Any:
        return with_defaults(data) if isinstance(data, Mapping) else data

    @field_validator("task", mode="before")
    @classmethod
    def _named(cls, task: Any) -> Any:
        return {"name": task} if isinstance(task, str) else task

    @field_validator("augment", mode="before")
    @classmethod
    def _pipeline(cls, augment: Any) -> Any:
        return PIPELINES[augment] if isinstance(augment, str) else augment

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, name: str) -> str:
        return BACKBONES[name].name

    @model_validator(mode="after")
    def _fits_together(self) -> TrialConfig:
        problems = self.problems()
        if problems:
            raise ValueError("; ".join(f"{key}: {message}" for key, message in problems))
        return self

    def problems(self) -> list[tuple[str, str]]:
        """What cannot be together, as (dotted key, message)."""
        # Not at the top: what builds networks needs this module's types.
        from trainables.networks import build_task, frame_of

        info, task = BACKBONES[self.backbone], build_task(self.task, self.resolution)
        problems = [
            (f"feature_loss.{key}", unknown_name(f"layer of {info.name}", name, info.layer_names))
            for key in ("layers", "style_layers")
            for name in getattr(self.feature_loss, key)
            if name not in info.layer_names
        ]
        unfit = GENERATORS[self.generator.name].unfit(self.generator, frame_of(task), info)
        if unfit:
            problems.append(("resolution" if unfit.startswith("the resolution") else "generator", unfit))
        if classes := getattr(self.generator, "c_dim", 0):
            rule = "must be 0, because the pictures have no labels: gansweep import FILE --label K makes a network of one class"
            problems.append(("generator.c_dim", f"{rule}, but got {classes}"))
        found = DISCRIMINATORS[self.discriminator.name].unfit(self.discriminator, info, self.resolution, task.condition_channels)
        problems += [(f"discriminator.{key}", message) for key, message in found]
        if self.adaptive and not self.augment:
            problems.append(("adaptive", "needs policies in augment whose probability it adapts, but there are none"))
        if self.adaptive and self.augment_p != 1:
            problems.append(("augment_p", f"is for where nothing adapts it, but adaptive is given beside {self.augment_p}"))
        if not self.adaptive and self.augment_p == 1:
            problems += [
                ("augment", f"{name} must not happen to every picture, or G makes such pictures: give adaptive or augment_p")
                for name in self.augment
                if name.startswith("ada_")
            ]
        if self.adaptive and not ADVERSARIAL[self.adversarial].boundary:
            divided = ", ".join(name for name, loss in ADVERSARIAL.items() if loss.boundary)
            problems.append(
                ("adaptive", f"counts the real images that D calls real, as only {divided} let it, but got {self.adversarial!r}")
            )
        return problems + regulariser_problems(self, info) + self._task_problems(task.in_channels > 0)

    def _task_problems(self, takes_pictures: bool) -> list[tuple[str, str]]:
        name, problems = self.task.name, []
        if not takes_pictures:
            for key, wrong in (
                ("feature_loss.form", self.feature_loss.form == "paired"),
                ("reconstruction.weight", self.reconstruction.weight > 0),
                ("pretrain_kimg", self.pretrain_kimg > 0),
                ("pretrain_critic_kimg", bool(self.pretrain_critic_kimg)),
            ):
                if wrong:
                    problems.append((key, f"is for tasks in which G takes a picture, but the task is {name!r}"))
        if self.feature_loss.style_layers and name != "style_transfer":
            problems.append(("feature_loss.style_layers", f"are for the task 'style_transfer', but the task is {name!r}"))
        if self.pretrain_kimg > 0 and not (self.reconstruction.weight > 0 or self.uses_features):
            problems.append(("pretrain_kimg", "needs a feature loss or a reconstruction loss for G to train on alone"))
        return problems

    @property
    def uses_features(self) -> bool:
        """Whether G's loss looks at the backbone's features."""
        loss = self.feature_loss
        return bool(loss.layers and loss.weight > 0) or bool(loss.style_layers and loss.style_weight > 0)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self._steps(self.kimg)

    @property
    def pretrain_steps(self) -> int:
        """Steps at the beginning in which G trains alone."""
        return self._steps(self.pretrain_kimg)

    @property
    def joint_step(self) -> int:
        """The first step in which G and D both train."""
        critic = self.pretrain_kimg / 5 if self.pretrain_critic_kimg is None else self.pretrain_critic_kimg
        return self.pretrain_steps + self._steps(critic)

    def evaluation_steps(self) -> list[int]:
        """The steps after which the trial is evaluated, increasing; the last is the end of the run."""
        count = max(1, math.floor(self.kimg / self.evaluation.every_kimg + 1e-9))
        steps = [self._steps(j * self.evaluation.every_kimg) for j in range(1, count + 1)]
        return sorted({*(s for s in steps if s < self.total_steps), self.total_steps})

    def _steps(self, kimg: float) -> int:
        """The steps that show at least ``kimg``. Rounded first: 0.3 is 3 * 0.1 less a little, which must not cost a step."""
        return math.ceil(round(kimg * 1000 / self.batch_size, 6))


def with_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's configuration as data, with the networks of its source and then the task's ``DEFAULTS`` beneath what is given.

    >>> with_defaults({"task": "denoising", "augment": ["flip"]})["reconstruction"]
    {'name': 'l1', 'weight': 100}
    """
    given = task_defaults(data)
    defaults = _of_task(given)
    for key in NETWORKS:  # options of one of several components, which may come without its name
        defaults.setdefault(key, {"name": TrialConfig.model_fields[key].default.name})
    if isinstance(source := given.get("source"), str):
        held = _of_source(source)
        defaults |= held
        if "discriminator" in held:
            given["discriminator"] = _with_members(given.get("discriminator", {}), held["discriminator"])
    return _beneath({key: defaults[key] for key in NETWORKS}, given)


def task_defaults(data: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's configuration as data, with the task's ``DEFAULTS`` beneath what is given, but for its networks.

    Which networks a trial has is known only with its source, and that may be searched.
    """
    task = data.get("task", "generation")
    given = dict(data) | {"task": {"name": task} if isinstance(task, str) else task}
    return _beneath({key: value for key, value in _of_task(given).items() if key not in NETWORKS}, given)


def _of_task(given: Mapping[str, Any]) -> dict[str, Any]:
    task = given["task"]
    name = task.get("name") if isinstance(task, Mapping) else getattr(task, "name", None)
    return dict(TASKS[name].DEFAULTS) if isinstance(name, str) and name in TASKS else {}


def _of_source(source: str) -> dict[str, Any]:
    """The networks that a source holds; none where it cannot be read, which is for those to say who need its tensors."""
    try:
        held = architecture_of(source)
    except ValueError:
        return {}
    networks = {"generator": held.generator, "discriminator": held.discriminator}
    return {key: value for key, value in networks.items() if value is not None}


def _with_members(given: Any, held: Mapping[str, Any]) -> Any:
    """``given`` with the options of what the source holds: of a D of its kind, or of members, on either side.

    An ensemble that names no members is the source's D beside a projected one (vision-aided, Kumari et al. 2022), if the source's
    is no pretrained network itself.
    """
    if not isinstance(given, Mapping):
        return given
    kinds = {m["name"]: m for m in held.get("members") or (held,) if isinstance(m, Mapping) and "name" in m}
    name, members = given.get("name"), given.get("members")
    own = [kind for kind in kinds if kind in DISCRIMINATORS and DISCRIMINATORS[kind].trunkless]
    if name == "ensemble" and members is None and held["name"] != "ensemble" and own:
        members = [{"name": own[0]}, {"name": "projected"}]
    if isinstance(members, list | tuple):
        filled = [{**kinds.get(m.get("name"), {}), **m} if isinstance(m, Mapping) else m for m in members]
        return {**given, "members": filled}
    return {**kinds[name], **given} if name in kinds else given


def _beneath(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given``, and from ``defaults`` what it lacks; a component of another name brings defaults of its own."""
    merged: dict[str, Any] = {**defaults, **given}
    for key, default in defaults.items():
        value = given.get(key)
        if not (isinstance(default, Mapping) and isinstance(value, Mapping)):
            continue
        # Every reconstruction loss has the same options; to name one must not lose the weight, which would turn it off.
        if key == "reconstruction" or value.get("name") in (None, default.get("name")):
            merged[key] = _beneath(default, value)
    return merged
