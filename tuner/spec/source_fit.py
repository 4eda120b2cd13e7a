"""Whether the sources of a spec fit the networks of its trials; nothing is trained and no weights are read for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.discriminators import DISCRIMINATORS
from trainables.networks import build_generator, build_task
from trainables.source import LoadReport, fit


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
