"""``gansweep metrics A B``: two sets of pictures compared by the same code, with the same numbers, as in a sweep.

Either side is a folder, an archive, a Parquet file (read as in a sweep: centre crop, Lanczos) or an export, whose generator is
sampled with the noise of a trial's evaluations.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from trainables.backbones import BACKBONES, load_backbone
from trainables.collective import Collective
from trainables.data import DataOptions, ImageDataset, check_data, load_dataset
from trainables.exported import load_export
from trainables.metrics import KINDS, Evaluator, MetricName, parse_metric
from trainables.metrics.features import INCEPTION, quantise
from trainables.metrics.inception import SIZE_PX, inception_available
from trainables.metrics.names import DEFAULT_FILTER
from trainables.networks import z_dim_of
from trainables.randomness import indexed_noise, keyed_generator
from tuner.commands.input_errors import input_errors
from tuner.commands.terminal import bars, print_json
from tuner.records.paths import cache_dir

# Without --metric: each on Inception's features where its weights are here, else on these.
DEFAULT_KINDS = ("fid", "fid_se", "kid", "kid_se", "precision", "recall", "density", "coverage", "copied")
_FALLBACK = ("efficientnet_lite2", 64)
_LARGEST_N = 5000
_SMALLEST_N = 20  # below it there is no standard error and hardly a neighbourhood
_PROBE = 64  # pictures are shrunk to this while only their sizes are wanted
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` found; ``values`` by full metric name."""

    a: str
    b: str
    images_a: int
    images_b: int  # read or sampled
    resolution: int
    values: dict[str, float]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """For ``json.dumps``: a value that is not finite becomes None."""
        return asdict(self) | {"values": {name: v if math.isfinite(v) else None for name, v in self.values.items()}}


def run(a: str, b: str, names: list[str], resolution: int | None, device: str, *, as_json: bool) -> None:
    """`gansweep metrics`."""
    console = Console(stderr=as_json, markup=False, highlight=False)
    with input_errors(), bars(console) as progress:
        folder = Path(cache_dir()).expanduser()
        comparison = compare(a, b, metrics=names, resolution=resolution, cache_dir=folder, device=device, progress=progress)
    if as_json:
        print_json(comparison.as_json())
    else:
        show(comparison, console)


def compare(
    a: str,
    b: str,
    *,
    metrics: Sequence[str] = (),
    resolution: int | None = None,
    cache_dir: Path,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Every metric of the pictures ``b`` against the pictures ``a``, which are taken as the real ones.

    Args:
        a, b: a data path as in a spec, or the folder of an export.
        metrics: full names; a choice of them, from as many images as there are (at most 5000), when empty.
        resolution: pixels to which pictures are brought before a metric's own resize; when None that of the export, or the one
            size that all pictures have.
        cache_dir: where packed pictures and statistics are kept.
        device: where networks run.
        progress: called with (what, images done, images to do).

    Raises:
        ValueError: unreadable pictures, unknown metrics, fewer pictures than a metric asks for, pictures of different sizes
            without ``resolution``. (`DataError` is one.)
        InceptionWeightsNotFoundError, WeightsNotFoundError: a metric's network is not here.
    """
    started = time.monotonic()
    names = [parse_metric(text, backbones=BACKBONES) for text in metrics]
    where = torch.device(device)
    resolution = resolution or _resolution(a, b)
    first, second = (_open(path, resolution, cache_dir, where) for path in (a, b))
    if not names:
        names = _default_metrics(first, second)
    largest = max(name.n for name in names)
    if second.images is not None and (held := len(second.images)) < largest:
        raise ValueError(f"n={largest} was asked for, but {b} holds {held} pictures: write n={held} or less")
    real = first.drawn(largest, where)
    assert real.images is not None
    evaluator = Evaluator(
        [str(name) for name in names],
        real.images,
        real.content_hash,
        load_backbone=lambda name: load_backbone(BACKBONES[name]).requires_grad_(False),
        cache_dir=cache_dir,
        collective=Collective(),
        device=where,
        batch_size=_BATCH,
        progress=progress,
    )
    values = evaluator(lambda indices: second.pictures(indices, where))
    return Comparison(
        a=a,
        b=b,
        images_a=len(real.images),
        images_b=largest,
        resolution=resolution,
        values=values,
        seconds=time.monotonic() - started,
    )


def show(comparison: Comparison, console: Console) -> None:
    """A table for people."""
    table = Table(
        box=box.SIMPLE,
        title=Text(f"{comparison.b} ({comparison.images_b} pictures) against {comparison.a} ({comparison.images_a})"),
        caption=f"pictures of {comparison.resolution} x {comparison.resolution} pixels; {comparison.seconds:.1f} s",
    )
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    kinds = {text: parse_metric(text).kind for text in comparison.values}
    for text, value in comparison.values.items():
        # As Text, because brackets in a plain string would be markup.
        table.add_row(Text(text), f"{value:.6g}", "lower" if KINDS[kinds[text]].lower_is_better else "higher")
    console.print(table)
    for kind in dict.fromkeys(kinds.values()):
        console.print(f"  {kind}: {KINDS[kind].summary}", soft_wrap=True)


@dataclass(frozen=True)
class _Side:
    """Pictures that exist (``images``, uint8 [N, 3, R, R]), or a generator of them."""

    images: Tensor | None = None
    content_hash: str = ""
    generator: nn.Module | None = None

    def pictures(self, indices: Tensor, device: torch.device) -> Tensor:
        """Images in [-1, 1], [b, 3, R, R]: of a generator, those of the evaluation noise of every trial."""
        if self.images is not None:
            # In an order that is random but always the same: the first n of a folder sorted by class would be one class.
            order = torch.randperm(len(self.images), generator=keyed_generator(0, "metrics"))
            return self.images[order[indices]].to(device).float() / 127.5 - 1
        assert self.generator is not None
        return self.generator(indexed_noise(indices, z_dim_of(self.generator), 0, "evaluation").to(device))

    @torch.no_grad()
    def drawn(self, count: int, device: torch.device) -> _Side:
        """The pictures that are there, or ``count`` of a generator's."""
        if self.images is not None:
            return self
        parts = [quantise(self.pictures(indices, device)).cpu() for indices in torch.arange(count).split(_BATCH)]
        images = torch.cat(parts)
        return _Side(images, hashlib.blake2b(images.numpy().data, digest_size=16).hexdigest())


def _is_export(path: str) -> bool:
    return (Path(path) / "generator.safetensors").is_file()


def _open(path: str, resolution: int, cache_dir: Path, device: torch.device) -> _Side:
    if _is_export(path):
        generator, _ = load_export(Path(path), device)
        if z_dim_of(generator) == 0:
            raise ValueError(f"{path} takes pictures, not noise: run `gansweep apply` and compare the folder of its results")
        return _Side(generator=generator)
    dataset = load_dataset(DataOptions(path=path, resolution=resolution), cache_dir)
    assert isinstance(dataset, ImageDataset)  # no native crops were asked for
    return _Side(dataset.images, dataset.content_hash)


def _resolution(a: str, b: str) -> int:
    """The resolution of the exports; without one, the side that all pictures of both paths have."""
    sides: dict[str, set[tuple[int, int]]] = {}
    for path in (a, b):
        if _is_export(path):
            return int(load_export(Path(path))[1]["resolution"])
        report = check_data(DataOptions(path=path, resolution=_PROBE))
        sides[path] = {report.smallest, report.largest}
    sizes = set().union(*sides.values())
    width, height = next(iter(sizes))
    if len(sizes) == 1 and width == height:
        return width
    found = "; ".join(f"{path}: {' to '.join(f'{w} x {h}' for w, h in sorted(s))}" for path, s in sides.items())
    raise ValueError(f"the pictures are not all of one square size ({found}): say which by --resolution")


def _default_metrics(first: _Side, second: _Side) -> list[MetricName]:
    counts = [len(side.images) for side in (first, second) if side.images is not None]
    n = min([_LARGEST_N, *counts])
    if n < _SMALLEST_N:
        raise ValueError(f"there are only {n} pictures; name a metric yourself if you want one from fewer than {_SMALLEST_N}")
    extractor, size = (INCEPTION, SIZE_PX) if inception_available() else _FALLBACK
    return [MetricName(kind, extractor, size, DEFAULT_FILTER, n) for kind in DEFAULT_KINDS]
