"""The paired form, the documents' L_FD: ||F(G(x)) - F(y)||² sample by sample, where y is what G should give.

Not for noise → image: when z and x do not belong together its optimum is the mean feature, and it pushes towards collapse.
"""

from __future__ import annotations

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import Distance, Layers, spreads


def paired(fake: Layers, real: Layers, distance: Distance, collective: Collective) -> list[Tensor]:
    """E_n Σ_positions d(F(G)_n, F(y)_n) / (positions · spread); see `feature_forms.base` for the arguments.

    Raises:
        ValueError: the shapes differ, so that there are no pairs.
    """
    for f, r in zip(fake, real, strict=True):
        if f.shape != r.shape:
            raise ValueError(f"paired features must have one shape, but got {tuple(f.shape)} and {tuple(r.shape)}")
    fake, real = [x.movedim(1, -1) for x in fake], [x.movedim(1, -1) for x in real]
    units = spreads(real, distance, collective)
    return [distance(f, r).mean() / unit for f, r, unit in zip(fake, real, units, strict=True)]
