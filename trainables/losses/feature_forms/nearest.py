"""The nearest form, for unpaired batches: the chamfer distance (Fan et al. 2017) of the global batch's features.

Each generated sample is drawn to its nearest real one, and to each real sample its nearest generated one is drawn; the first
alone would be content with copies of one real sample. It works on features averaged over positions, so that where in the image
something stands does not decide which sample is near.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import Distance, Layers, spreads

_MOST = 2**24  # numbers held at once of the differences of all pairs


def nearest(fake: Layers, real: Layers, distance: Distance, collective: Collective) -> list[Tensor]:
    """½ (E_f min_r d(f, r) + E_r min_f d(f, r)) / spread, over pooled features; see `feature_forms.base` for the arguments.

    The other workers' features are gathered without gradient; a worker's own samples carry it, for every pair they are in.

    Raises:
        ValueError: there are fewer than two real samples, which have no spread.
    """
    own, wanted = [x.mean(dim=(2, 3)) for x in fake], [x.mean(dim=(2, 3)) for x in real]
    widths = [x.shape[1] for x in own]
    fakes, reals = collective.gather_rows(torch.cat([*own, *wanted], dim=1).detach()).split([sum(widths)] * 2, dim=1)
    if len(reals) < 2:
        raise ValueError(f"form 'nearest' needs a global batch of at least 2, but got {len(reals)}")
    layers = zip(own, fakes.split(widths, dim=1), reals.split(widths, dim=1), spreads(wanted, distance, collective), strict=True)
    return [_chamfer(x, f, r, distance, collective) / unit for x, f, r, unit in layers]


def _chamfer(fake: Tensor, fakes: Tensor, reals: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """Of one layer: this worker's generated samples, and all workers' of either kind, [N, C] each."""
    with torch.no_grad():  # [fakes, reals]; some rows at a time, as each holds C times as much on the way
        rows = max(1, _MOST // reals.numel())
        between = torch.cat([distance(some[:, None], reals) for some in fakes.split(rows)])
    first = collective.rank * len(fake)  # shares are equal, in rank order
    to_real = distance(fake, reals[between[first : first + len(fake)].argmin(dim=1)]).sum() / len(fakes)
    partner = between.argmin(dim=0) - first  # of each real sample; within 0 ... N - 1 when it is one of this worker's
    mine = (partner >= 0) & (partner < len(fake))
    # Not fake[partner[mine]]: how many are mine would have to be waited for.
    to_mine = distance(fake.index_select(0, partner.clamp(0, len(fake) - 1)), reals)
    to_fake = torch.where(mine, to_mine, 0).sum() / len(reals)
    return collective.world_size * (to_real + to_fake) / 2
