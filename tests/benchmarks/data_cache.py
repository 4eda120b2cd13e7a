"""Batches per second from the packed cache and from torchvision's ImageFolder, taking turns, with the same number of workers.

    python -m tests.benchmarks.data_cache [--images FOLDER] [--workers 0 2] [--runs 5]

Both give float32 batches [B, 3, R, R] in [-1, 1] of the same pictures in the same shuffled order. ImageFolder decodes, resizes
(Lanczos), crops and normalises each picture each time, in a DataLoader. The packed cache is read twice: as training reads it, by
`ImageDataset.batch` in the training process, which needs no worker processes, and through a DataLoader with as many workers as
ImageFolder has. Building the cache is timed on its own: it happens once for each data set and resolution. Worker processes are
started before the clock is. The median of several passes over all pictures counts.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.trainables.data.pictures import twemoji
from trainables.data import DataOptions, ImageDataset, load_dataset


class Packed(Dataset[Tensor]):
    """The packed cache as a DataLoader wants it: an item is a batch."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, indices: list[int]) -> Tensor:
        return self.dataset.batch(torch.tensor(indices))


class AsTrained:
    """The packed cache as a training step reads it."""

    def __init__(self, dataset: ImageDataset, order: Tensor, batch: int) -> None:
        self.dataset, self.order, self.batch = dataset, order, batch

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.dataset.batch, self.order.split(self.batch))


def image_folder(folder: Path, resolution: int) -> ImageFolder:
    """As tutorials write it."""
    transform = v2.Compose([
        v2.Resize(resolution, interpolation=v2.InterpolationMode.LANCZOS), v2.CenterCrop(resolution), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3),
    ])  # fmt: skip
    return ImageFolder(str(folder), transform)


def passes(loader: Iterable[object]) -> Iterator[int]:
    """Images of each pass over the loader, one pass for each `next`."""
    while True:
        count = 0
        for batch in loader:
            images = batch[0] if isinstance(batch, (list, tuple)) else batch
            assert isinstance(images, Tensor)
            count += len(images)
        yield count


def timed(run: Callable[[], int]) -> float:
    """Images per second."""
    started = time.perf_counter()
    return run() / (time.perf_counter() - started)


def loaders(folder: Path, packed: ImageDataset, resolution: int, batch: int, workers: int) -> dict[str, Iterable[object]]:
    count = len(packed)
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    order = shuffled.tolist()
    keep = {"num_workers": workers, "persistent_workers": workers > 0}
    return {
        "ImageFolder": DataLoader(image_folder(folder, resolution), batch_size=batch, sampler=order, **keep),
        "packed, DataLoader": DataLoader(Packed(packed), batch_size=None, sampler=BatchSampler(order, batch, False), **keep),
        "packed, as trained": AsTrained(packed, shuffled, batch),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with a folder for each class; all Twemoji when left out")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads in each process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # Pillow's, of palettes, in ImageFolder
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.images or demo_pictures(Path(temporary) / "images")
        started = time.perf_counter()
        packed = load_dataset(DataOptions(path=str(folder), resolution=options.resolution), Path(temporary) / "cache")
        seconds = time.perf_counter() - started
        print(f"{len(packed)} pictures at {options.resolution} px, batches of {options.batch}, median of {options.runs} passes")
        print(f"packing, once: {seconds:.1f} s, {packed.images.nbytes / 1e6:.0f} MB")
        print(f"{'':20}{'workers':>8}{'images/s':>10}{'spread':>16}{'ratio':>8}")
        for workers in options.workers:
            measured = measure(loaders(folder, packed, options.resolution, options.batch, workers), len(packed), options.runs)
            slowest = statistics.median(measured["ImageFolder"])
            for name, rates in measured.items():
                rate, spread = statistics.median(rates), f"{min(rates):.0f}–{max(rates):.0f}"
                used = 0 if name == "packed, as trained" else workers
                print(f"{name:20}{used:8}{rate:10.0f}{spread:>16}{rate / slowest:7.1f}x")


def measure(contenders: dict[str, Iterable[object]], count: int, runs: int) -> dict[str, list[float]]:
    """Images per second of every pass, the contenders taking turns; the first pass, which starts processes, is left out."""
    running = {name: passes(loader) for name, loader in contenders.items()}
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for run, (name, steps) in itertools.product(range(runs + 1), running.items()):
        rate = timed(lambda steps=steps: next(steps))  # type: ignore[misc]
        if run:
            measured[name].append(rate)
    return measured


def demo_pictures(folder: Path) -> Path:
    """The demo's pictures, in the folder of their one class."""
    shutil.copytree(twemoji(), folder / "twemoji")
    return folder


if __name__ == "__main__":
    main()
