"""Whether the sources of a spec fit the networks of its trials; nothing is trained and no weights are read for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.discriminators import DISCRIMINATORS
from trainables.networks import build_generator, build_task
from trainables.source import LoadReport, architecture_of, fit, not_whole, read_source
from tuner.spec.checks import example_configs
from tuner.spec.model import SweepSpec
from tuner.spec.problems import Problem


def source_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Sources that cannot be read, and those that do not give the networks of some trial: all ways in which each does not."""
    configs, key = example_configs(spec) if spec.sources else [], "source" if spec.source else "space.source"
    for source in spec.sources:
        try:
            tensors = read_source(source)
        except ValueError as error:
            yield Problem(key, str(error))
            continue
        for config in different_networks([config for config in configs if config.source == source]):
            report = fit_of(config, tensors)
            if not any(name.startswith("generator.") for name in report.copied):
                rule = "holds no tensor that fits this generator (resolution, channels or z_dim differ)"
                yield Problem(key, f"{source} {rule}{_of_another_size(config)}")
            elif config.source_fit == "whole" and (problem := report.problem()):
                yield Problem(key, not_whole(source, problem) + _of_another_size(config))


def _of_another_size(config: TrialConfig) -> str:
    """What to do about a source of smaller pictures, or of larger ones whose blocks cannot be left out, as StyleGAN2's can."""
    side, name = architecture_of(str(config.source)).resolution, config.generator.name
    if side is None or side == config.resolution or (side > config.resolution and name == "stylegan2"):
        return ""
    cut = f", and no {name} can be cut" if side > config.resolution else ""
    return f". It makes pictures of {side} px{cut}: set data.resolution: {side}"


def different_networks(configs: Iterable[TrialConfig]) -> list[TrialConfig]:
    """One configuration of each pair of networks among ``configs``."""
    return list({(config.generator, config.discriminator, config.backbone): config for config in configs}.values())


def fit_of(config: TrialConfig, tensors: Mapping[str, Tensor]) -> LoadReport:
    """What a source's tensors give this trial's networks; of D those parts alone that have no pretrained trunk."""
    with torch.device("meta"):
        return fit(tensors, generator_of(config), _own_discriminator(config), config.backbone)


def generator_of(config: TrialConfig, options: Any = None) -> nn.Module:
    """The trial's generator, or one of other options."""
    return build_generator(options or config.generator, build_task(config.task, config.resolution), config.backbone)


def _own_discriminator(config: TrialConfig) -> nn.Module:
    """Of an ensemble without the members on a trunk, which would take seconds to build and of which nothing is asked."""
    task, options = build_task(config.task, config.resolution), config.discriminator
    found = nn.Module()
    found.members = nn.ModuleList(
        DISCRIMINATORS[member.name](member, None, task.condition_channels, config.resolution)
        for member in getattr(options, "members", (options,))
        if DISCRIMINATORS[member.name].trunkless
    )
    return found
