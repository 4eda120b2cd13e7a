"""Small trials that between them have every entry of every registry, by its being registered; and what workers do with them.

Trials from noise and trials from pictures each go through the registries side by side: trial i has the i-th entry of every one,
round and round, so that there are as many trials as the longest registry has entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from tests.contracts.test_tasks import REQUIRED
from tests.trainables.peers import InDouble
from tests.trainables.small import FACES
from trainables.augment import POLICIES
from trainables.backbones import BACKBONES, load_backbone
from trainables.batches import Images
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import ImageDataset, load_dataset
from trainables.discriminators import DISCRIMINATORS
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.generators.adaptation import ADAPTATIONS
from trainables.losses import (
    ADVERSARIAL,
    FEATURE_DISTANCES,
    FEATURE_FORMS,
    GENERATOR_REGULARISERS,
    RECONSTRUCTION,
    REGULARISERS,
)
from trainables.losses.feature_forms import EUCLIDEAN_FORMS
from trainables.tasks import TASKS

RESOLUTION = 16
BATCH = 12  # for one, two and three workers with two micro-batches
STEPS = 4  # 48 pictures of 32: with the ragged end of an epoch

# What makes an entry small; of an entry that is not here, the defaults are taken.
_PATCH = {"name": "patch", "channels": 8, "layers": 1}
_PROJECTED = {"name": "projected", "scales": 2, "head_channels": 8, "mixed_channels": 8}
_TRUNK = {"name": "trunk", "frozen_depth": 3, "scales": 2, "head_channels": 8}
_SMALL: dict[str, dict[str, Any]] = {
    "compact": {"z_dim": 8, "channels": 8, "max_channels": 16},
    "stylegan2": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 16, "style_mixing": 0.5},
    "stylegan3": {
        "z_dim": 8,
        "w_dim": 8,
        "channel_base": 128,
        "channel_max": 8,
        "num_layers": 4,
        "num_critical": 2,
        "margin_size": 4,
    },
    "inverted_trunk": {"z_dim": 8},
    "encoder_decoder": {"channels": 8},
    "unet": {"channels": 8, "depth": 2},
    "patch": _PATCH,
    "projected": _PROJECTED,
    "trunk": _TRUNK,
    "ensemble": {"members": [_PATCH, _TRUNK]},
}
# A discriminator of the same name as a generator.
_SMALL_D: dict[str, dict[str, Any]] = {"stylegan2": {"channel_base": 128, "channel_max": 16, "mbstd_group": 2}}
# The first is a ResNet of a tenth of the usual width, made for tests; the second is for what only takes a usual one.
_BACKBONES = ("timm/test_resnet", "resnet18")
_ANY = BACKBONES[_BACKBONES[0]]
_FORMS = [(f, d) for f, d in product(FEATURE_FORMS, FEATURE_DISTANCES) if d == "euclidean" or f not in EUCLIDEAN_FORMS]
_POLICIES = tuple(POLICIES)


def entry(name: str, small: Mapping[str, dict[str, Any]] = _SMALL) -> dict[str, Any]:
    """Options that make an entry of a registry of networks small."""
    return {"name": name, **small.get(name, {})}


def _discriminator_entry(name: str) -> dict[str, Any]:
    return entry(name, _SMALL | _SMALL_D)


def trial(
    task: str,
    generator: Mapping[str, Any] | str,
    discriminator: Mapping[str, Any] | str,
    feature: tuple[str, str],
    **changes: Any,
) -> TrialConfig:
    """A trial of four steps with a feature loss, on the first backbone that the generator fits."""
    options = {"name": task, **REQUIRED.get(task, {})}
    frame = Frame(RESOLUTION, TASKS[task].in_channels, TASKS[task].out_channels)
    small = entry(generator) if isinstance(generator, str) else generator
    cls = GENERATORS[small["name"]]
    fits = [n for n in _BACKBONES if not cls.unfit(cls.Options(**small), frame, BACKBONES[n])]
    assert fits, f"none of {_BACKBONES} suits the generator {generator}"
    data: dict[str, Any] = {} if "adaptive" in changes else {"augment_p": 0.7}
    data |= {
        "task": options,
        "resolution": RESOLUTION,
        "kimg": BATCH * STEPS / 1000,
        "batch_size": BATCH,
        "seed": 3,
        "backbone": fits[0],
        "weights": "random",
        "generator": small,
        "discriminator": _discriminator_entry(discriminator) if isinstance(discriminator, str) else discriminator,
        "feature_loss": {"layers": BACKBONES[fits[0]].layer_names[:2], "form": feature[0], "distance": feature[1]},
        "augment": _POLICIES,
        "evaluation": {"metric": "fid[efficientnet_lite0,32px,n=8]"},
    }
    return TrialConfig(**(data | changes))


def _discriminator(name: str, regulariser: str, conditional: bool) -> dict[str, Any]:
    """A discriminator of this name; one with a trunk where the regulariser needs one and this has none."""
    options = _discriminator_entry("ensemble" if REGULARISERS[regulariser].needs_trunk else name)
    members = options.get("members")
    if members:
        return options | {"members": [member | {"conditional": conditional} for member in members]}
    return options | ({"conditional": True} if conditional else {})


def _regulariser(name: str) -> list[dict[str, Any]]:
    return [{"name": name, "every": 2}]


def _of_generator(name: str) -> list[dict[str, Any]]:
    """All regularisers that suit this generator."""
    has_styles = hasattr(GENERATORS[name], "styles")
    return [{"name": n, "every": 2} for n, kind in GENERATOR_REGULARISERS.items() if has_styles or not kind.needs_styles]


def _longest(*collections: Collection[Any]) -> int:
    return max(len(collection) for collection in collections)


def _turn(items: Any, index: int) -> Any:
    items = list(items)
    return items[index % len(items)]


def _from_noise() -> Iterator[tuple[str, TrialConfig]]:
    generators = [name for name in GENERATORS if not _takes_pictures(name)]
    forms = [form for form in _FORMS if form[0] != "paired"]
    for i in range(_longest(ADVERSARIAL, REGULARISERS, DISCRIMINATORS, POLICIES, forms, generators)):
        adversarial, regulariser, form = _turn(ADVERSARIAL, i), _turn(REGULARISERS, i), _turn(forms, i)
        discriminator = _discriminator(_turn(DISCRIMINATORS, i), regulariser, conditional=False)
        # The first generator is the cheapest: the others have one trial each.
        generator = generators[i] if i < len(generators) else generators[0]
        yield (
            f"{generator} {discriminator['name']} {adversarial} {regulariser} {'-'.join(form)}",
            trial(
                "generation",
                generator,
                discriminator,
                form,
                adversarial=adversarial,
                regularisers=_regulariser(regulariser),
                generator_regularisers=_of_generator(generator) if i < len(generators) else (),
                augment=(_turn(POLICIES, i),),
            ),
        )


def _from_pictures() -> Iterator[tuple[str, TrialConfig]]:
    tasks = [name for name in TASKS if TASKS[name].in_channels]
    generators = [name for name in GENERATORS if _takes_pictures(name)]
    forms = [form for form in _FORMS if form[0] == "paired"]
    for i in range(_longest(tasks, generators, forms, DISCRIMINATORS, REGULARISERS, RECONSTRUCTION)):
        task, regulariser, reconstruction = _turn(tasks, i), _turn(REGULARISERS, i), _turn(RECONSTRUCTION, i)
        discriminator = _discriminator(_turn(DISCRIMINATORS, i), regulariser, conditional=task != "style_transfer")
        generator, form = _turn(generators, i), _turn(forms, i)
        yield (
            f"{task} {generator} {discriminator['name']} {regulariser} {'-'.join(form)} {reconstruction}",
            trial(
                task,
                generator,
                discriminator,
                form,
                regularisers=_regulariser(regulariser),
                generator_regularisers=_of_generator(generator) if i < len(generators) else (),
                reconstruction={"name": reconstruction, "weight": 10},
            ),
        )


def _takes_pictures(generator: str) -> bool:
    frame = Frame(RESOLUTION, 3)
    return GENERATORS[generator].unfit(GENERATORS[generator].Options(**_SMALL.get(generator, {})), frame, _ANY) is None


ADAPTIVE = {"target": -0.9, "ramp_kimg": 0.1, "every": 3}
ENTRIES: dict[str, TrialConfig] = dict([*_from_noise(), *_from_pictures()])
OPTIONS: dict[str, TrialConfig] = {
    "adaptive augmentation": trial("generation", "compact", "patch", ("moments", "euclidean"), adaptive=ADAPTIVE),
    "pre-training": trial(
        "denoising", "unet", "patch", ("paired", "l1"), reconstruction={"weight": 10}, pretrain_kimg=2 * BATCH / 1000
    ),
    "micro-batches": trial(
        "generation",
        "compact",
        "trunk",
        ("nearest", "cosine"),
        adaptive=ADAPTIVE,
        regularisers=[*_regulariser("r1"), *_regulariser("lecam")],
        speed={"micro_batches": 2},
    ),
    # Of six samples in a part two are looked at: with three workers one has none of them.
    "path length of few": trial(
        "generation",
        "stylegan2",
        "patch",
        ("moments", "euclidean"),
        generator_regularisers=[{"name": "path_length", "every": 2, "batch_shrink": 4}],
        speed={"micro_batches": 2},
    ),
    "distilled StyleGAN2's D": trial(
        "generation",
        "compact",
        _discriminator_entry("stylegan2") | {"frozen_depth": 1},
        ("moments", "euclidean"),
        regularisers=_regulariser("feature_distillation"),
    ),
    "projected as in the paper": trial(
        "generation", "compact", _PROJECTED | {"heads": "paper", "input_px": 32}, ("moments", "euclidean"), adversarial="hinge"
    ),
    "bfloat16": trial(
        "colorization",
        "unet",
        # Not on maps of one pixel: there PyTorch's bfloat16 convolutions on the CPU now and then give a kernel's gradient other
        # last bits, and in one of twelve trials (2.14.1, two busy cores) NaN.
        {"name": "trunk", "frozen_depth": 3, "scales": 2, "head_channels": 8, "input_px": 64},
        ("paired", "euclidean"),
        regularisers=_regulariser("r1"),
        speed={"precision": "bfloat16", "channels_last": True},
    ),
    "style": trial(
        "style_transfer",
        "encoder_decoder",
        "patch",
        ("paired", "euclidean"),
        feature_loss={
            "form": "paired",
            "layers": _ANY.layer_names[1:2],
            "style_layers": _ANY.layer_names[:2],
            "style_weight": 10,
        },
        reconstruction={"weight": 1},
    ),
}
OPTIONS |= {
    f"adapted by {way}": trial(
        "generation",
        entry("stylegan2") | {"adapt": way, "adapt_rank": 2, "frozen": frozen, "style_mixing": 0.0, **miner},
        "patch",
        ("moments", "euclidean"),
    )
    for way, frozen, miner in zip(
        ADAPTATIONS,
        itertools.cycle([{"mapping": True, "constant": True}, {"below": 8}, {}]),
        itertools.cycle([{}, {"miner_layers": 2, "miner_alone_kimg": 2 * BATCH / 1000}]),
        strict=False,
    )
}
TRIALS = ENTRIES | OPTIONS


def pictures(cache: Path) -> tuple[ImageDataset, ImageDataset]:
    """32 emoji faces, and some animals for their style."""
    faces = FACES.model_copy(update={"resolution": RESOLUTION})
    return load_dataset(faces, cache), load_dataset(faces.model_copy(update={"include": "1f43*.png"}), cache)


def trainer_of(config: TrialConfig, images: tuple[Images, Images], collective: Collective | None = None) -> GanTrainer:
    """A trainer of one of these trials, in torch's default dtype."""
    style = images[1] if config.task.name == "style_transfer" else None
    trainer = GanTrainer(config, images[0], style=style, collective=collective)
    if torch.get_default_dtype() == torch.float64:
        degrade = trainer.task.degrade  # what an 8-bit file would hold comes as float32
        trainer.task.degrade = lambda images, keys: degrade(images, keys).double()  # type: ignore[method-assign]
    return trainer


@contextlib.contextmanager
def everything_in(dtype: torch.dtype) -> Iterator[None]:
    """New networks are of this dtype, those of files too."""

    before = torch.get_default_dtype()

    def load(*args: Any) -> Any:
        torch.set_default_dtype(before)
        try:
            return load_backbone(*args).to(dtype)
        finally:
            torch.set_default_dtype(dtype)

    torch.set_default_dtype(dtype)
    try:
        with patch("trainables.networks.load_backbone", load), patch("trainables.objectives.load_backbone", load):
            yield
    finally:
        torch.set_default_dtype(before)


def trained(images: tuple[ImageDataset, ImageDataset], config: TrialConfig, collective: Collective) -> dict[str, Any]:
    """In float64: networks and state after the trial's steps, where they started, and the workers' mean losses of each step."""
    with everything_in(torch.float64):
        trainer = trainer_of(config, (InDouble(images[0]), InDouble(images[1])), collective)
        start = networks_of(trainer)
        losses = []
        while not trainer.done:
            losses.append({name: collective.sum(x.double()) / collective.world_size for name, x in trainer.step().items()})
        return {"start": start, "end": networks_of(trainer), "losses": losses}


def networks_of(trainer: GanTrainer) -> dict[str, dict[str, Tensor]]:
    """Copies of all that training changes, but for the optimizers' moments, which show in what they move."""
    state = trainer.state_dict()
    names = ("generator", "ema", "discriminator", "regularisers", "generator_regularisers", "adaptive")
    return {name: {key: value.clone() for key, value in state[name].items()} for name in names}


def of_workers(rank: int, folder: Path) -> dict[str, Any]:
    """Every trial in a group: what the first worker has after it, and whether the others have the same bit for bit."""
    images, collective = pictures(folder / f"cache{rank}"), Collective()
    results = {}
    for name, config in TRIALS.items():
        result = trained(images, config, collective)
        digests = collective.gather(_digest(result["end"]))
        if rank == 0:
            results[name] = {"end": result["end"], "losses": result["losses"], "digests": digests}
    return results


def _digest(networks: dict[str, dict[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for state in networks.values():
        for value in state.values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()
