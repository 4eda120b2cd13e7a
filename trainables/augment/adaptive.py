"""Adaptive discriminator augmentation (Karras et al. 2020, section 3): how often to augment follows D's overfitting.

r_t = E[sign(D(real))] (eq. 1) rises as D gets sure of the training images. Every few steps p, the probability with which each
policy is applied to each sample, goes up by a fixed amount where the mean r_t since the last time is above its target, else down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from trainables.balance import NO_ENSEMBLE, Balance
from trainables.collective import Collective
from trainables.registry import Options


class AdaptiveOptions(Options):
    """Options of `AdaptiveAugment`."""

    target: float = Field(0.6, gt=-1, lt=1)
    """The r_t to hold: 0.6 means that D calls 80 % of the real images real."""
    ramp_kimg: float = Field(100, gt=0, allow_inf_nan=False)
    """Thousand images in which p can go from 0 to 1; the paper has 500 from scratch, its code 100 for fine-tuning."""
    every: int = Field(4, ge=1)
    """Steps between adjustments of p."""
    initial_p: float | None = Field(None, ge=0, le=1)
    """p at the beginning; None takes over that of the source, where it tells one, else 0."""


class AdaptiveAugment(nn.Module):
    """Holds p, a scalar in [0, 1], and the running sum of r_t; both are in its state_dict.

    Unlike the paper's code p stops at 1: a larger one would change nothing but how long it takes to come down.

    Args:
        options: target and speed.
        parts: calls of `update` to a step, where a step's batch goes through D in parts; p stays as it is within a step.
        source_p: p at which the source's own training ended; None where that is not known.
    """

    p: Tensor
    r_sum: Tensor
    count: Tensor

    def __init__(self, options: AdaptiveOptions, parts: int = 1, source_p: float | None = None) -> None:
        super().__init__()
        self.options = options
        self.updates = options.every * parts
        initial = source_p if options.initial_p is None else options.initial_p
        self.register_buffer("p", torch.tensor(0.0 if initial is None else min(max(initial, 0.0), 1.0)))
        self.register_buffer("r_sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(
        self, real_logits: Sequence[Tensor], images: int, collective: Collective, balance: Balance = NO_ENSEMBLE
    ) -> Tensor:
        """Takes note of D's logits and, after ``every`` steps, adjusts p. Without waiting for the device.

        Args:
            real_logits: this worker's logits of augmented real images, one map for each head; 0 must divide real from fake.
            images: how many there are over all workers.
            collective: the workers, with equal shares.
            balance: how much each head counts.

        Returns:
            r_t of these images in [-1, 1].
        """
        options = self.options
        # Whole numbers, which add up to the same on any number of workers: near the target a rounding would turn p around.
        signs = collective.sum(torch.stack([x.sign().sum(dtype=torch.float64) for x in real_logits]))
        of_heads = torch.stack(
            [s / (x.numel() * collective.world_size) for s, x in zip(signs.unbind(), real_logits, strict=True)]
        )
        r = balance.mean(torch.mean, of_heads)
        self.r_sum += r
        self.count += 1
        due = self.count >= self.updates
        change = torch.sign(self.r_sum / self.count - options.target) * (images * self.updates / (options.ramp_kimg * 1000))
        self.p.copy_(torch.where(due, (self.p + change).clamp(0, 1), self.p))
        self.r_sum.masked_fill_(due, 0)
        self.count.masked_fill_(due, 0)
        return r
