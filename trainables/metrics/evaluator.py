"""Evaluation of a generator inside a trial's own workers: built once, called at every evaluation of every trial.

Each worker generates and embeds its own share of the fixed sample indices; one reduction makes the statistics; rank 0 computes
the values and all workers get them. Nothing here draws from torch's global random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.metrics.cache import CODE_VERSION, StatisticsCache
from trainables.metrics.embedding import check_finite, collect, together
from trainables.metrics.features import Extractor, quantise
from trainables.metrics.kinds import KINDS
from trainables.metrics.names import MetricName, parse_metric
from trainables.metrics.statistics import Statistics

Space = tuple[str, int, str]  # extractor, size, filter: features are comparable within one


class Rows(Protocol):
    """Images that are made as they are asked for: a slice gives uint8 [n, 3, H, W]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor: ...


class Evaluator:
    """Computes the same metrics for one generator after another against the same real images.

    All workers of a collective construct it and call it together. All real images are used; their number is not part of a
    metric's name, because it does not change within a data set.

    Args:
        metrics: names such as ``fid[efficientnet_lite2,64px,n=500]``.
        real_images: uint8 [N, 3, H, W], array, tensor or `Rows`; may be memory-mapped: it is read in batches, and only if
            its statistics are not in the cache.
        real_hash: identifies the content of ``real_images``; part of the cache's key.
        load_backbone: backbone name → frozen module, images [N, 3, H, W] in [-1, 1] → dict of feature maps in forward order.
        cache_dir: where statistics of the real images are kept.
        collective: the workers that evaluate together.
        device: where networks run.
        batch_size: images are generated and embedded in batches of exactly this size, filled up where there are fewer.
            Features from different batch sizes differ by rounding (about 1e-6 relative), so keep it the same within a sweep;
            `trainables.metrics.batches.evaluation_batch` says how many a device takes.
        progress: called with ("real", "mirrored" (real images) or "generated", images done, images to do) of this worker's share.

    Raises:
        ValueError: an unknown or malformed name, no metric, a metric named twice, or fewer than two real images.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        real_images: np.ndarray | Tensor | Rows,
        real_hash: str,
        *,
        load_backbone: Callable[[str], nn.Module],
        cache_dir: Path,
        collective: Collective,
        device: torch.device,
        batch_size: int = 32,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.names = [parse_metric(text) for text in metrics]
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"metrics must be at least one, each named once, but got {[str(name) for name in self.names]}")
        if len(real_images) < 2:
            raise ValueError(f"at least 2 real images are needed to fit a Gaussian, but there are {len(real_images)}")
        self.collective = collective
        self.device = device
        self.batch_size = batch_size
        self.progress = progress
        self._cache = StatisticsCache(cache_dir)
        self._extractors: dict[Space, Extractor] = {}
        self._real: dict[Space, Statistics | None] = {}  # rank 0 alone holds them: it computes the values
        for space in dict.fromkeys(_space(name) for name in self.names):
            extractor = Extractor(*space, load_backbone=load_backbone, device=device)
            self._extractors[space] = extractor
            real = self._real_statistics(extractor, real_images, real_hash)
            if any(KINDS[name.kind].needs_mirrored for name in self.names if _space(name) == space):
                mirrored = self._real_statistics(extractor, real_images, real_hash, mirror=True)
                if real is not None and mirrored is not None:
                    real = replace(real, mirrored=mirrored.rows)
            self._real[space] = real

    def __call__(self, generate: Callable[[Tensor], Tensor], generated_hash: str | None = None) -> dict[str, float]:
        """Every metric by its full name, the same on every worker.

        Args:
            generate: sample indices, int64 [batch_size] on the CPU → images [batch_size, 3, H, W] in [-1, 1], on any device.
                An index must always stand for the same noise. Indices repeat at the end of the last batch. Workers call it
                different numbers of times, so it must not communicate.
            generated_hash: identifies all that it makes; statistics of that are then cached too.

        Raises:
            NotFiniteError: a generated image or its features hold NaN or infinity (`WorkerFailedError` on other workers).
        """
        values: dict[MetricName, float] = {}
        for n in sorted({name.n for name in self.names}):
            names = [name for name in self.names if name.n == n]
            generated = self._generated_statistics(generate, n, names, generated_hash)
            local = together(self.collective, partial(self._values, names, generated))
            values |= self.collective.broadcast(local)
        return {str(name): values[name] for name in self.names}

    def _values(self, names: list[MetricName], generated: Mapping[Extractor, Statistics | None]) -> dict[MetricName, float]:
        values = {}
        for name in names:
            real, made = self._real[_space(name)], generated[self._extractors[_space(name)]]
            if real is not None and made is not None:
                values[name] = KINDS[name.kind].value(real, made)
        return values

    def _generated_statistics(
        self, generate: Callable[[Tensor], Tensor], n: int, names: list[MetricName], generated_hash: str | None
    ) -> Mapping[Extractor, Statistics | None]:
        extractors: dict[Extractor, bool] = {}
        for name in names:
            extractor = self._extractors[_space(name)]
            extractors[extractor] = extractors.get(extractor, False) or KINDS[name.kind].needs_rows

        @torch.no_grad()
        def images(indices: Tensor) -> Tensor:
            count = len(indices)
            made = generate(torch.cat([indices, indices[-1:].expand(self.batch_size - count)]))[:count]
            check_finite(made, indices, "generated image")
            return quantise(made)

        if generated_hash is None:
            return self._collect("generated", images, n, extractors)
        return {
            extractor: self._cached("generated", images, n, extractor, {"data": generated_hash, "generated": 1})
            for extractor in extractors
        }

    def _real_statistics(
        self, extractor: Extractor, real_images: np.ndarray | Tensor | Rows, real_hash: str, *, mirror: bool = False
    ) -> Statistics | None:
        """Of the real images, or of their mirror images, which are cached as a set of their own; None but on rank 0."""

        def images(indices: Tensor) -> Tensor:
            rows = real_images[int(indices[0]) : int(indices[-1]) + 1]
            pixels = torch.as_tensor(rows if isinstance(rows, Tensor) else np.array(rows))
            return pixels.flip(-1) if mirror else pixels

        what, more = ("mirrored", {"mirrored": 1}) if mirror else ("real", {})
        return self._cached(what, images, len(real_images), extractor, {"data": real_hash, **more})

    def _cached(
        self,
        what: str,
        images: Callable[[Tensor], Tensor],
        total: int,
        extractor: Extractor,
        of: dict[str, str | int],
    ) -> Statistics | None:
        """What `_collect` makes, from the cache where it has it; ``of`` says which images. None but on rank 0."""
        description = of | {
            "extractor": extractor.name,
            "weights": extractor.weights_hash,
            "preprocessing": extractor.preprocessing,
            "images": total,
            "code_version": CODE_VERSION,
        }
        first = self.collective.rank == 0
        # The first worker holds the lock for all: another group's first worker waits, then finds the file.
        with ExitStack() as stack:
            together(self.collective, lambda: stack.enter_context(self._cache.lock(description)) if first else None)
            cached = together(self.collective, lambda: self._cache.read(description) if first else None)
            if self.collective.broadcast(cached is not None):
                return cached
            built = self._collect(what, images, total, {extractor: True})[extractor]
            together(self.collective, lambda: self._cache.write(description, built) if first else None)
            return built if first else None

    def _collect(
        self, what: str, images: Callable[[Tensor], Tensor], total: int, extractors: dict[Extractor, bool]
    ) -> dict[Extractor, Statistics]:
        share = self.collective.share(total)
        done = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if self.progress is not None:
                self.progress(what, done, share.stop - share.start)

        return collect(
            images,
            total,
            extractors,
            collective=self.collective,
            device=self.device,
            batch_size=self.batch_size,
            progress=report,
        )


def _space(name: MetricName) -> Space:
    return name.extractor, name.size_px, name.filter
