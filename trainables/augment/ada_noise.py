"""ADA's additive noise (Karras et al. 2020, appendix B)."""

from __future__ import annotations

from torch import Tensor

from trainables.augment.policy import Draws, Policy, Probability, by_sample
from trainables.layers.keyed_noise import keyed_normal, keys_of

_SCALE = 0.1


def apply(x: Tensor, u: Tensor, p: Probability) -> Tensor:
    """Adds Gaussian noise of a strength |N(0, 0.1²)| to every value with probability p."""
    draws = Draws(u, p)
    sigma = draws.given(_SCALE * draws.normal().abs(), 0)
    # Two more numbers are the key of the noise itself, so that only they have to come from the CPU.
    noise = keyed_normal(keys_of(u[:, 2:]), 0, x[0].numel()).view_as(x)
    return draws.result(x + by_sample(sigma).to(x.dtype) * noise.to(x.dtype), x)


POLICY = Policy(apply, numbers=4, geometric=False)
