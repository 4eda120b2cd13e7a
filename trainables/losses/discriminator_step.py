"""What a regulariser of D may look at: one step of D on this worker's share of the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainables.balance import NO_ENSEMBLE, Balance

Features = Callable[[Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class DiscriminatorStep:
    """One step of D, before its update. Images are [N, 3, H, W], augmented and detached."""

    logits: Callable[[Tensor], list[Tensor]]
    """D with its condition bound: N images → one [N, ...] map of logits for each head."""
    real: Tensor
    """Real images as D saw them."""
    fake: Tensor
    """Generated images as D saw them."""
    real_logits: list[Tensor]
    """D's logits of the real images, with their graph."""
    fake_logits: list[Tensor]
    """D's logits of the generated images, with their graph."""
    mix: Tensor
    """Uniform random numbers in [0, 1), [N], keyed per sample."""
    batch_size: int
    """Real images of the whole step, over all workers and micro-batches."""
    balance: Balance = NO_ENSEMBLE
    """How much each head counts."""
    trained: Sequence[tuple[str, nn.Parameter]] = ()
    """D's trained parameters by name."""
    initial: Mapping[str, Tensor] | None = None
    """Their values when training began; given to regularisers with ``needs_initial``."""
    features: Features | None = None
    """D with its condition bound: images → features by layer, [N, C, h, w]; given to regularisers with ``needs_start``."""
    initial_features: Features | None = None
    """The same of D as it was when training began; given to regularisers with ``needs_start``."""
