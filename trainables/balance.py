"""How much each of D's heads counts: the members of an ensemble count as discriminators, however many heads each has.

As in vision-aided GAN (Kumari et al. 2022, section 3.1) the discriminators' losses are added. So each member's loss and penalties
are what they would be without the others, γ of R1 included, and one logit of StyleGAN2's does not drown among eight heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

PerHead = Sequence[Tensor] | Tensor | None
"""Something for each head, in the order of D's logits: a list, or a tensor's rows; None where there is nothing."""


class Balance:
    """Which heads belong together, and what each such member weighs.

    Args:
        heads: of each member, in the order of D's logits; () for a D that is no ensemble, of any number of heads.
        weights: of each member; one of 0 is passed over.
        own: whether each member is the trial's own and made of no pretrained network; None says nothing of that.

    >>> Balance([1, 2], [1.0, 0.5]).total(lambda heads: heads.mean(), torch.tensor([3.0, 4.0, 8.0]))
    tensor(6.)
    """

    def __init__(self, heads: Sequence[int] = (), weights: Sequence[float] = (), own: Sequence[bool] | None = None) -> None:
        assert len(heads) == len(weights)
        self.heads, self.weights, self._own = tuple(heads), tuple(weights), own

    @property
    def of_own(self) -> Balance:
        """The same, of the members alone that are no pretrained network's, where there are any."""
        if not self._own or not any(self._own):
            return self
        return Balance(self.heads, [weight * own for weight, own in zip(self.weights, self._own, strict=True)])

    def total(self, of: Callable[..., Tensor], *per_head: PerHead) -> Tensor:
        """Σ over members of weight times ``of`` its heads: of losses and penalties."""
        if not self.heads:
            return of(*per_head)
        terms = [weight * of(*parts) for weight, parts in zip(self.weights, self._parts(per_head), strict=True) if weight]
        return torch.stack(terms).sum()

    def mean(self, of: Callable[..., Tensor], *per_head: PerHead) -> Tensor:
        """The weighted mean over members instead: of shares and rates."""
        total = self.total(of, *per_head)
        return total / sum(self.weights) if self.heads else total

    def _parts(self, per_head: Sequence[PerHead]) -> Iterator[list[PerHead]]:
        start = 0
        for count in self.heads:
            yield [None if x is None else x[start : start + count] for x in per_head]
            start += count


NO_ENSEMBLE = Balance()
