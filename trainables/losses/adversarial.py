"""Adversarial objectives on logits. D's heads each give a map of logits; a loss is its mean over positions, samples and heads. Of
an ensemble these losses are added (`trainables.balance`).

In every objective a higher logit says real. Means are over a worker's own share: with equal shares,
their mean over workers is the mean over the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.losses.precision import in_float32

Logits = Sequence[Tensor]


class AdversarialLoss(NamedTuple):
    """The two sides of an objective, each a scalar to minimise. Logits are one [N, ...] map for each head."""

    discriminator: Callable[[Logits, Logits], Tensor]
    """``discriminator(real_logits, fake_logits)``."""
    generator: Callable[[Logits, Logits | None], Tensor]
    """``generator(fake_logits, real_logits)``; the real ones may be None unless ``needs_real``."""
    needs_real: bool = False
    """Whether G's loss depends on the logits of real images."""
    boundary: bool = True
    """Whether a positive logit says real and a negative one fake; where not, only differences of logits mean something."""


def _mean(logits: Logits, of: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([of(in_float32(x)).mean() for x in logits]).mean()


# The documents, and Goodfellow et al. 2014, eq. 1: min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]. With D = sigmoid(logit),
# -log D = softplus(-logit) and -log(1 - D) = softplus(logit). G's gradient vanishes where D is sure of itself.
minimax = AdversarialLoss(
    discriminator=lambda real, fake: _mean(real, lambda x: F.softplus(-x)) + _mean(fake, F.softplus),
    generator=lambda fake, _: -_mean(fake, F.softplus),
)

# Goodfellow et al. 2014, section 3: the same D; G maximises log D(G(z)) instead.
non_saturating = AdversarialLoss(
    discriminator=minimax.discriminator,
    generator=lambda fake, _: _mean(fake, lambda x: F.softplus(-x)),
)

# Lim and Ye 2017, "Geometric GAN".
hinge = AdversarialLoss(
    discriminator=lambda real, fake: _mean(real, lambda x: F.relu(1 - x)) + _mean(fake, lambda x: F.relu(1 + x)),
    generator=lambda fake, _: -_mean(fake, lambda x: x),
)

# Mao et al. 2017, eq. 2, with labels a = -1 for fake and b = 1 for real, and c = 1 what G wants: the paper's 0-1 coding (eq. 9)
# with the undecided D at 0, as in the other objectives.
least_squares = AdversarialLoss(
    discriminator=lambda real, fake: (_mean(real, lambda x: (x - 1).square()) + _mean(fake, lambda x: (x + 1).square())) / 2,
    generator=lambda fake, _: _mean(fake, lambda x: (x - 1).square()) / 2,
)

# Arjovsky et al. 2017, eq. 2. The critic must be kept Lipschitz: by spectrally normalised heads, or `gradient_penalty`.
wasserstein = AdversarialLoss(
    discriminator=lambda real, fake: _mean(fake, lambda x: x) - _mean(real, lambda x: x),
    generator=lambda fake, _: -_mean(fake, lambda x: x),
    boundary=False,
)


def _relative(higher: Logits, lower: Logits | None) -> Tensor:
    """Mean softplus(lower - higher) over pairs of samples, position by position."""
    if lower is None or [x.shape for x in higher] != [x.shape for x in lower]:
        shapes = [None if logits is None else [tuple(x.shape) for x in logits] for logits in (higher, lower)]
        raise ValueError(
            f"a relativistic loss pairs real and fake samples one to one, but got logits {shapes[0]} and {shapes[1]}"
        )
    return _mean([low - high for high, low in zip(higher, lower, strict=True)], F.softplus)


# Relativistic pairing GAN (Jolicoeur-Martineau 2018) as in R3GAN (Huang et al. 2024): D wants each real sample's logit above that
# of its fake partner, G the reverse. Meant to go with `r1` and `r2`.
relativistic = AdversarialLoss(
    discriminator=lambda real, fake: _relative(real, fake),
    generator=lambda fake, real: _relative(fake, real),
    needs_real=True,
    boundary=False,
)
