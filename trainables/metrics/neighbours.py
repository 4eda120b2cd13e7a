"""Values from nearest neighbours in feature space: fidelity and diversity apart, and whether training images were copied.

A set's manifold is the union of balls around its features, each reaching to its k-th nearest neighbour in the same set.

- precision, recall: Kynkäänniemi et al. 2019, "Improved precision and recall metric", k = 3.
- density, coverage: Naeem et al. 2020, "Reliable fidelity and diversity metrics", k = 5; they are robust to outliers and
  coverage, unlike recall, does not grow when generated images spread thinly.
- copied: see `copied_share`.

Distances are float64 and Euclidean, computed in blocks: memory grows with the larger set, not with the product of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.metrics.statistics import Statistics

K_PRECISION = 3
K_COVERAGE = 5
COPY_RATIO = 1 / 3
_BLOCK = 512


def precision(real: Statistics, generated: Statistics) -> float:
    """Share of generated images that lie in the real manifold, 0..1."""
    return float(_in_balls(real, generated, K_PRECISION)[0].gt(0).double().mean())


def recall(real: Statistics, generated: Statistics) -> float:
    """Share of real images that lie in the generated manifold, 0..1."""
    return float(_in_balls(generated, real, K_PRECISION)[0].gt(0).double().mean())


def density(real: Statistics, generated: Statistics) -> float:
    """In how many real balls a generated image lies, on average, over k; about 1 for a perfect generator, may exceed it."""
    return float(_in_balls(real, generated, K_COVERAGE)[0].double().mean() / K_COVERAGE)


def coverage(real: Statistics, generated: Statistics) -> float:
    """Share of real balls that hold a generated image, 0..1. About 1 - 2^-k for a perfect generator of equal number."""
    return float(_in_balls(real, generated, K_COVERAGE)[1].double().mean())


@dataclass(frozen=True)
class NearestReal:
    """The nearest training image of each generated one, in feature space."""

    index: Tensor  # int64 [M], row among the real features
    mirrored: Tensor  # bool [M], whether the training image's mirror image is what is near
    distance: Tensor  # float64 [M]
    ratio: Tensor  # float64 [M], of the distance to that of the training image from its own nearest other training image


def nearest_real(real: Statistics, generated: Statistics) -> NearestReal:
    """Pairs every generated image with its nearest training image: to look at, and to count copies.

    Where ``real`` holds features of the mirrored training images, those are looked at as well: networks are not blind to a
    mirror, and D may be shown both. How far training images are apart does not count them, so that a symmetric picture is not
    its own neighbour.

    A ratio far below 1 means that the generated image is nearer to a training image than training images are to each other.
    """
    index, distance = [], []
    own = real.some_rows()
    rows = own if real.mirrored is None else torch.cat([own, real.mirrored])
    for block in _distances(generated.some_rows(), rows):
        nearest = block.min(dim=1)
        index.append(nearest.indices)
        distance.append(nearest.values)
    found, distances = torch.cat(index), torch.cat(distance)
    indices = found % len(own)
    apart = _radii(real, 1)[indices]
    # A training image that is there twice has radius 0: then only an identical image is a copy.
    ratio = torch.where(distances == 0, 0.0, distances / apart)
    return NearestReal(indices, found >= len(own), distances, ratio)


def copied_share(real: Statistics, generated: Statistics) -> float:
    """Share of generated images that copy a training image, mirrored or not, 0..1: `nearest_real` ratio below 1/3.

    The ratio is that of Alaa et al. 2022 ("How faithful is your synthetic data?", authenticity), who count everything below 1,
    as do about half the images of a perfect generator. The lower threshold leaves near-duplicates only.
    """
    return float((nearest_real(real, generated).ratio < COPY_RATIO).double().mean())


def _in_balls(centres: Statistics, points: Statistics, k: int) -> tuple[Tensor, Tensor]:
    """In how many balls each point lies, int64 [points], and whether each ball holds a point, bool [centres]."""
    radii = _radii(centres, k)
    counts = []
    hit = torch.zeros(len(radii), dtype=torch.bool)
    for block in _distances(points.some_rows(), centres.some_rows()):
        inside = block <= radii
        counts.append(inside.sum(1))
        hit |= inside.any(0)
    return torch.cat(counts), hit


def _radii(statistics: Statistics, k: int) -> Tensor:
    """Distance of every kept feature to its k-th nearest other one, float64 [N]."""
    rows = statistics.some_rows()
    if len(rows) <= k:
        raise ValueError(f"the distance to the {k}th nearest neighbour needs more than {k} images, but there are {len(rows)}")

    def compute() -> Tensor:
        # The (k+1)-th smallest, because every feature is its own nearest.
        return torch.cat([block.kthvalue(k + 1, dim=1).values for block in _distances(rows, rows)])

    return statistics.once(("radii", k), compute)


def _distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances in blocks of rows, float64 [b, M]."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of {x.shape[1]} and of {y.shape[1]} dimensions cannot be compared")
    # Centred on y's mean: a common offset would cost digits in |x|² + |y|² - 2xy. Exact zeros matter (identical images),
    # so what lies within rounding of zero is computed again from the difference.
    y = y.double()
    centre = y.mean(0)
    y = y - centre
    squares = y.square().sum(1)
    for part in x.split(_BLOCK):
        part = part.double() - centre
        own = part.square().sum(1, keepdim=True)
        squared = own + squares - 2 * part @ y.T
        i, j = torch.nonzero(squared <= 1e-9 * (own + squares), as_tuple=True)
        squared[i, j] = (part[i] - y[j]).square().sum(1)
        yield squared.sqrt()
