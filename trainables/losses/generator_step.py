"""What a regulariser of G may look at: one step of G on this worker's share of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trainables.losses.discriminator_step import Features


@dataclass(frozen=True, kw_only=True)
class GeneratorStep:
    """One step of G, before its update."""

    generator: Any
    """G; to regularisers with ``needs_styles`` one made of styles (`trainables.generators.noise.StyleBased`)."""
    inputs: Tensor
    """What G makes pictures of: latents [N, z_dim], or conditions [N, C, R, R]."""
    places: range
    """Each sample's place in the batch of all workers, from 0 on."""
    trained: Sequence[tuple[str, nn.Parameter]] = ()
    """G's trained parameters by name."""
    initial: Mapping[str, Tensor] | None = None
    """Their values when training began; given to regularisers with ``needs_initial``."""
    features: Features | None = None
    """Inputs → G's features by layer, [N, C, h, w], coarse to fine; given to regularisers with ``needs_start``."""
    initial_features: Features | None = None
    """The same of G as it was when training began; given to regularisers with ``needs_start``."""
