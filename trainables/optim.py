"""Optimizers and the exponential moving average of G."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from trainables.discriminators.discriminator import in_trunk
from trainables.registry import Options

_RAMPUP = 0.5


class OptimizerOptions(Options):
    """Adam for both networks (Kingma and Ba 2015) with learning rates of their own (Heusel et al. 2017)."""

    generator_lr: float = Field(2e-4, gt=0, allow_inf_nan=False)
    """Learning rate of G."""
    discriminator_lr: float = Field(2e-4, gt=0, allow_inf_nan=False)
    """Learning rate of D's heads."""
    trunk_lr_multiplier: float = Field(0.1, ge=0, allow_inf_nan=False)
    """Learning rate of the unfrozen stages of a pretrained trunk in G or D, turned round too, relative to that network's own."""
    beta1: float = Field(0.0, ge=0, lt=1)
    """Adam's β1."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Adam's β2."""


class EmaOptions(Options):
    """The averaged generator that is evaluated and exported."""

    halflife_kimg: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Thousand images after which an old weight counts half."""
    rampup: float | None = Field(None, ge=0, allow_inf_nan=False)
    """The half-life is at most this share of the images seen so far, so that random initial weights are soon forgotten; 0 turns
    that off. None takes 0.5 from scratch and 0 from a ``source``, whose weights are worth keeping, as StyleGAN2-ADA does."""

    def halflife(self, images_seen: int, *, pretrained: bool) -> float:
        """Images after which an old weight counts half, where training has seen so many; ``pretrained``: from a source."""
        rampup = self.rampup if self.rampup is not None else 0.0 if pretrained else _RAMPUP
        longest = self.halflife_kimg * 1000
        return min(longest, max(images_seen * rampup, 1e-8)) if rampup else longest


def build_optimizer(network: nn.Module, lr: float, options: OptimizerOptions) -> torch.optim.Adam:
    """Adam over what is trained of ``network``, a pretrained trunk at a rate of its own. Fused: one kernel for all parameters."""
    report = getattr(network, "start_report", None)  # of a trunk that was turned round
    turned_round = () if report is None else {*report.copied, *report.adapted}
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    trunk = [p for name, p in trained if _is_pretrained(name) or name in turned_round]
    others = [p for name, p in trained if not (_is_pretrained(name) or name in turned_round)]
    groups = [{"params": others, "lr": lr}]
    if trunk:
        groups.append({"params": trunk, "lr": lr * options.trunk_lr_multiplier})
    return torch.optim.Adam(groups, betas=(options.beta1, options.beta2), fused=True)


def _is_pretrained(name: str) -> bool:
    """Whether a trained parameter came with a trunk's weights; those for input channels beyond RGB are new."""
    return in_trunk(name) and "extra" not in name.split(".")


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, batch_size: int, halflife: float) -> None:
    """Moves ``ema`` towards ``network`` after a step on ``batch_size`` images (Karras et al. 2020, ADA's half-life form).

    Args:
        halflife: images after which an old weight counts half.
    """
    decay = 0.5 ** (batch_size / halflife)
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)
    if buffers := list(ema.buffers()):
        torch._foreach_copy_(buffers, list(network.buffers()))
