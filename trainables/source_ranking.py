"""Which source suits the target pictures best, before any training: the one whose samples cover most of them.

Fine-tuning hardly ever adds what a source cannot make, so what counts is recall (Kynkäänniemi et al. 2019) of the target among
the source's samples (Grigoryev et al. 2022, "When, why, and which pretrained GANs are useful?"); precision and FID say more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.backbones import BACKBONES, load_backbone
from trainables.collective import Collective
from trainables.data import ImageDataset, NativeDataset
from trainables.digest import json_digest
from trainables.metrics import Evaluator, MetricName
from trainables.metrics.features import hash_weights
from trainables.metrics.statistics import MAX_ROWS
from trainables.networks import z_dim_of
from trainables.randomness import indexed_noise
from trainables.source import architecture_of, load_generator

KINDS = ("recall", "precision", "fid")
"""What is computed of each source."""
_PIXELS_AT_ONCE = 2**20  # StyleGANs take about a kilobyte for each


@dataclass(frozen=True, kw_only=True)
class RankedSource:
    """A source, and how near its samples are to the target pictures."""

    source: str
    resolution: int | None = None
    """Side of its samples in pixels."""
    values: dict[str, float] = field(default_factory=dict)
    """By full metric name, in the order of `KINDS`; empty where it could not be sampled."""
    problem: str | None = None
    """Why not."""

    def as_json(self) -> dict[str, object]:
        """For ``json.dumps``: a value that is not finite becomes None."""
        return asdict(self) | {"values": {name: v if math.isfinite(v) else None for name, v in self.values.items()}}


def ranking_metrics(metric: MetricName) -> tuple[MetricName, ...]:
    """What sources are ranked by, on the features of ``metric`` and from as many samples, as far as neighbours are looked for."""
    return tuple(replace(metric, kind=kind, n=min(metric.n, MAX_ROWS)) for kind in KINDS)


def rank_sources(
    sources: Iterable[str],
    metric: MetricName,
    target: ImageDataset | NativeDataset,
    *,
    cache_dir: Path,
    device: torch.device | str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> list[RankedSource]:
    """All ``sources``, best first: by recall, of equal recall by FID; those that make no samples last.

    Each makes pictures of its own size, with the noise of every trial's evaluations; the metric resizes them as any other.

    Args:
        metric: its features, resize and number of samples are taken.
        target: the pictures to cover.
        cache_dir: where statistics of both are kept.
        progress: called with (what, images done, images to do).

    Raises:
        WeightsNotFoundError, InceptionWeightsNotFoundError: the metric's network is not here.
        ValueError: there is but one target picture.
    """
    names, found = ranking_metrics(metric), list[RankedSource]()

    def tell(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress("target pictures" if what == "real" else f"samples of source {len(found) + 1}", done, total)

    evaluator = Evaluator(
        [str(name) for name in names],
        target.real_images,
        target.content_hash,
        load_backbone=lambda name: load_backbone(BACKBONES[name]).requires_grad_(False),
        cache_dir=cache_dir,
        collective=Collective(),
        device=torch.device(device),
        progress=tell,
    )
    for source in sources:
        try:
            generator = load_generator(source).to(device)
            sample = _sampler(generator, torch.device(device))
            side = sample(torch.zeros(1, dtype=torch.int64)).shape[-1]
            made_of = json_digest(architecture_of(source).generator)  # with what no tensor says, such as a scale of the output
            content = f"{type(generator).__name__} of {side} px, {made_of}, {hash_weights(generator)}"
            found.append(RankedSource(source=source, resolution=side, values=evaluator(sample, content)))
        except ValueError as error:
            problem = str(error)
            found.append(RankedSource(source=source, problem=problem if source in problem else f"source {source}: {problem}"))
    recall, _, fid = map(str, names)
    return sorted(found, key=lambda one: (one.problem is not None, -one.values.get(recall, 0), one.values.get(fid, 0)))


def _sampler(generator: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Sample indices → pictures, as many at once as memory surely holds."""
    z_dim = z_dim_of(generator)
    if z_dim == 0:
        raise ValueError("it takes pictures, not noise, and so has no samples of its own")

    def pictures(indices: Tensor) -> Tensor:
        made: Tensor = generator(indexed_noise(indices, z_dim, 0, "evaluation").to(device))
        return made

    side = pictures(torch.zeros(1, dtype=torch.int64)).shape[-1]
    at_once = max(1, _PIXELS_AT_ONCE // side**2)
    return lambda indices: torch.cat([pictures(part) for part in indices.split(at_once)])
