"""Adversarial objectives on logits. D's heads each give a map of logits; a loss is its mean over positions, samples and heads.

Means are over a worker's own share: with equal shares, their mean over workers is the mean over the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Logits = Sequence[Tensor]


class AdversarialLoss(NamedTuple):
    """``discriminator(real_logits, fake_logits)`` and ``generator(fake_logits)``, each a scalar to minimise."""

    discriminator: Callable[[Logits, Logits], Tensor]
    generator: Callable[[Logits], Tensor]


def _mean(logits: Logits, of: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([of(x).mean() for x in logits]).mean()


# Goodfellow et al. 2014, section 3: G maximises log D(G(z)). With D = sigmoid(logit), -log D = softplus(-logit).
non_saturating = AdversarialLoss(
    discriminator=lambda real, fake: _mean(real, lambda x: F.softplus(-x)) + _mean(fake, F.softplus),
    generator=lambda fake: _mean(fake, lambda x: F.softplus(-x)),
)

# Lim and Ye 2017, "Geometric GAN".
hinge = AdversarialLoss(
    discriminator=lambda real, fake: _mean(real, lambda x: F.relu(1 - x)) + _mean(fake, lambda x: F.relu(1 + x)),
    generator=lambda fake: -_mean(fake, lambda x: x),
)
