"""Indices → images → features → statistics, shared among workers and in batches of one fixed size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from trainables.collective import Collective
from trainables.metrics.features import Extractor
from trainables.metrics.statistics import MAX_ROWS, Accumulator, Statistics

T = TypeVar("T")


class NotFiniteError(ValueError):
    """Images or features hold NaN or infinity; the message names the first such image."""


class WorkerFailedError(RuntimeError):
    """Another worker of the same collective failed; the message repeats what it said.

    Args:
        kind: the name of the exception's class there.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


def collect(
    images: Callable[[Tensor], Tensor],
    total: int,
    extractors: Mapping[Extractor, bool],
    *,
    collective: Collective,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> dict[Extractor, Statistics]:
    """Statistics of ``total`` images under several extractors, each image being made once. All workers must call it.

    Args:
        images: indices, int64 [b] with b <= batch_size, within 0..total-1 → uint8 [b, 3, H, W]. Must not call the collective:
            workers may have different numbers of batches.
        extractors: and whether single features are wanted as well.
        progress: called with the number of images this worker has just done.

    Raises:
        NotFiniteError: a feature is NaN or infinite.
        WorkerFailedError: another worker raised.
    """
    # Float64 does not exist on every accelerator.
    sums_on = device if device.type in ("cpu", "cuda") else torch.device("cpu")
    kept = {extractor: kept_indices(total, extractor.dim, wanted) for extractor, wanted in extractors.items()}
    accumulators = {e: Accumulator(e.dim, scatter=total > e.dim, device=sums_on) for e in extractors}

    def embed_own_share() -> None:
        share = collective.share(total)
        for indices in torch.arange(share.start, share.stop).split(batch_size):
            if not len(indices):
                continue
            batch = images(indices)
            for extractor, accumulator in accumulators.items():
                features = extractor.in_batches_of(batch_size, batch)
                check_finite(features, indices, f"the {extractor.name} features of image")
                accumulator.update(features, torch.isin(indices, kept[extractor]))
            if progress is not None:
                progress(len(indices))

    together(collective, embed_own_share)
    return {extractor: accumulator.reduce(collective) for extractor, accumulator in accumulators.items()}


def kept_indices(total: int, dim: int, wanted: bool) -> Tensor:
    """Of which images single features are kept: all up to `MAX_ROWS`, beyond that an evenly spaced part; int64 [K].

    They are also kept, wanted or not, when there are no more than dimensions: then they replace the covariance.
    """
    if total <= dim or (wanted and total <= MAX_ROWS):
        return torch.arange(total)
    return torch.arange(MAX_ROWS) * total // MAX_ROWS if wanted else torch.arange(0)


def check_finite(x: Tensor, indices: Tensor, what: str) -> None:
    """Raises `NotFiniteError` naming the first of ``indices`` whose row of ``x`` is not finite."""
    bad = ~x.flatten(1).isfinite().all(1)
    if bad.any():
        first = int(indices[bad.cpu()][0])
        raise NotFiniteError(f"{what} {first} hold NaN or infinity ({int(bad.sum())} of {len(bad)} in its batch)")


def together(collective: Collective, work: Callable[[], T]) -> T:
    """Runs ``work`` on every worker; when it fails on one it raises on all, which would otherwise wait for the one for ever."""
    result, error = None, None
    try:
        result = work()
    except Exception as caught:  # reported to the other workers, then raised
        error = caught
    reports = collective.gather(None if error is None else (type(error).__name__, str(error)))
    if error is not None:
        raise error
    for rank, report in enumerate(reports):
        if report is not None:
            raise WorkerFailedError(f"worker {rank} failed: {report[0]}: {report[1]}", report[0])
    return result  # type: ignore[return-value] # no error, so `work` has returned
