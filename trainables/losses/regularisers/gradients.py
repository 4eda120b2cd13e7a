"""The gradient of D in its input, itself differentiable: what R1, R2 and the gradient penalty are made of.

D(x) is one number for each sample, which a D of several logits does not give by itself. There are two conventions:

- `summed` over positions and heads, as the StyleGANs' code sums them, for R1 and R2: so that γ means what it means in the papers.
- `averaged`, as the adversarial losses average them, for the gradient penalty: its bound of 1 is on what the loss sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.balance import Balance
from trainables.losses.discriminator_step import DiscriminatorStep
from trainables.losses.precision import in_float32

Score = Callable[[Sequence[Tensor]], Tensor]
"""One [N, ...] map of logits for each head → D(x) of each sample, [N]."""


def summed(logits: Sequence[Tensor]) -> Tensor:
    """Σ over positions and heads, [N]."""
    return torch.stack([x.reshape(len(x), -1).sum(1) for x in logits]).sum(0)


def averaged(logits: Sequence[Tensor]) -> Tensor:
    """The mean over heads of the mean over positions, [N]."""
    return torch.stack([x.reshape(len(x), -1).mean(1) for x in logits]).mean(0)


def of_gradient(
    step: DiscriminatorStep, images: Tensor, score: Score, penalty: Callable[[Tensor], Tensor], balance: Balance | None = None
) -> Tensor:
    """``penalty`` of ∇ₓ D(x) at ``images`` [N, C, H, W], which it is given flat, [N, C·H·W]; added up over an ensemble's members.

    ``balance``: of the members that are penalised; None takes all.

    In float32, outside autocast (the square of a gradient leaves the range of half precision), and eager: second derivatives do
    not go through ``torch.compile`` (pytorch#91469).
    """
    images = in_float32(images).detach().requires_grad_()

    def of_member(logits: Sequence[Tensor]) -> Tensor:
        (gradient,) = torch.autograd.grad(score(logits).sum(), images, create_graph=True)
        return penalty(gradient.flatten(1))

    with torch.autocast(images.device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        return (balance or step.balance).total(of_member, [in_float32(x) for x in step.logits(images)])
