"""Optimizers and the exponential moving average of G."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from trainables.registry import Options


class OptimizerOptions(Options):
    """Adam for both networks (Kingma and Ba 2015) with learning rates of their own (Heusel et al. 2017)."""

    generator_lr: float = Field(2e-4, gt=0, allow_inf_nan=False)
    """Learning rate of G."""
    discriminator_lr: float = Field(2e-4, gt=0, allow_inf_nan=False)
    """Learning rate of D's heads."""
    trunk_lr_multiplier: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Learning rate of D's unfrozen pretrained stages, relative to ``discriminator_lr``."""
    beta1: float = Field(0.0, ge=0, lt=1)
    """Adam's β1."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Adam's β2."""


class EmaOptions(Options):
    """The averaged generator that is evaluated and exported."""

    halflife_kimg: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Thousand images after which an old weight counts half."""
    rampup: float = Field(0.5, ge=0, allow_inf_nan=False)
    """The half-life is at most this share of the images seen so far; 0 turns the ramp off."""


def generator_optimizer(generator: nn.Module, options: OptimizerOptions) -> torch.optim.Adam:
    """Adam over all of G's trainable parameters."""
    parameters = [p for p in generator.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, lr=options.generator_lr, betas=(options.beta1, options.beta2))


def discriminator_optimizer(discriminator: nn.Module, options: OptimizerOptions) -> torch.optim.Adam:
    """Adam over D's trainable parameters; those of its pretrained ``backbone`` have their own learning rate."""
    trunk: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    for name, parameter in discriminator.named_parameters():
        if parameter.requires_grad:
            (trunk if name.startswith("backbone.") else heads).append(parameter)
    groups = [{"params": heads, "lr": options.discriminator_lr}]
    if trunk:
        groups.append({"params": trunk, "lr": options.discriminator_lr * options.trunk_lr_multiplier})
    return torch.optim.Adam(groups, betas=(options.beta1, options.beta2))


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, batch_size: int, images_seen: int, options: EmaOptions) -> None:
    """Moves ``ema`` towards ``network`` after a step on ``batch_size`` images (Karras et al. 2020, ADA's half-life form)."""
    halflife = options.halflife_kimg * 1000
    if options.rampup:
        halflife = min(halflife, max(images_seen * options.rampup, 1e-8))
    decay = 0.5 ** (batch_size / halflife)
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)
    for own, other in zip(ema.buffers(), network.buffers(), strict=True):
        own.copy_(other)
