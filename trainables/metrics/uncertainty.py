"""How far a value may be off: standard errors, and the Fréchet distance that infinitely many generated images would give.

Both resample the features of the generated images; the real images are taken as given. Everything random is drawn from a fixed
seed, so the same features give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trainables.metrics.distances import frechet_distance
from trainables.metrics.statistics import Statistics

GROUPS = 10
POINTS = 8
_SEED = 0


def frechet_standard_error(real: Statistics, generated: Statistics, *, groups: int = GROUPS) -> float:
    """Standard error of the Fréchet distance over the choice of generated images: delete-a-group jackknife.

    The images are split at random into ``groups`` groups, each left out once (Shao & Wu 1989); the bias of a finite N is the same
    in all of them and cancels. With 10 groups the error itself is known to about a quarter. Between two trials the noise is less
    than this where they share their sample indices.

    Raises:
        ValueError: fewer than two images in a group.
    """
    rows = generated.every_row()
    count = len(rows)
    if count < 2 * groups:
        raise ValueError(f"a standard error needs at least {2 * groups} generated images, but there are {count}")
    group = _shuffled(count) % groups
    values = torch.tensor([frechet_distance(real, Statistics.of(rows[group != g], keep=False)) for g in range(groups)])
    return float(((groups - 1) * values.double().var(correction=0)).sqrt())


def frechet_at(real: Statistics, generated: Statistics, counts: Sequence[int]) -> list[float]:
    """Fréchet distances of random parts of the generated images, of the given sizes."""
    rows = generated.every_row()
    values = []
    for draw, count in enumerate(counts):
        part = rows[_shuffled(len(rows), draw)[:count]]
        values.append(frechet_distance(real, Statistics.of(part, keep=False)))
    return values


def frechet_infinity(real: Statistics, generated: Statistics, *, points: int = POINTS) -> float:
    """The Fréchet distance extrapolated to infinitely many generated images: Chong & Forsyth 2020, "Effectively unbiased FID".

    The bias of N images is close to linear in 1/N, so a line through the values at ``points`` sizes between N/2 and N (evenly
    spaced in 1/N) is read off at 1/N = 0. The number of real images is not extrapolated: their part of the bias stays. The line
    is straight only when N exceeds the number of dimensions: otherwise this is a ValueError.

    Raises:
        ValueError: N/2 is not more than the number of dimensions, so that extrapolation is not justified.
    """
    count, dim = generated.count, generated.dim
    if count // 2 <= dim:
        raise ValueError(
            f"fid_infinity of {dim} features needs more than {2 * (dim + 1)} generated images, but n={count}: with fewer, the "
            "covariance is singular and the distance is not linear in 1/n"
        )
    inverse = torch.linspace(1 / count, 2 / count, points, dtype=torch.float64)
    counts = [round(1 / float(x)) for x in inverse]
    values = torch.tensor(frechet_at(real, generated, counts), dtype=torch.float64)
    design = torch.stack([torch.ones(points, dtype=torch.float64), 1 / torch.tensor(counts, dtype=torch.float64)], 1)
    return float(torch.linalg.lstsq(design, values[:, None]).solution[0])


def _shuffled(count: int, draw: int = 0) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_SEED + draw))
