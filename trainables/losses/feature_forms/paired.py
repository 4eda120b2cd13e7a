"""The paired form, the documents' L_FD: ||F(G(x)) - F(y)||² sample by sample, where y is what G should give.

Not for noise → image: when z and x do not belong together its optimum is the mean feature, and it pushes towards collapse.
"""

from __future__ import annotations

from torch import Tensor

from trainables.collective import Collective
from trainables.losses.feature_forms.base import Distance, spread


def paired(fake: Tensor, real: Tensor, distance: Distance, collective: Collective) -> Tensor:
    """E_n Σ_positions d(F(G)_n, F(y)_n) / (positions · spread); see `feature_forms.base` for the arguments.

    Raises:
        ValueError: the shapes differ, so that there are no pairs.
    """
    if fake.shape != real.shape:
        raise ValueError(f"paired features must have one shape, but got {tuple(fake.shape)} and {tuple(real.shape)}")
    fake, real = fake.movedim(1, -1), real.movedim(1, -1)
    return distance(fake, real).mean() / spread(real, distance, collective)
