"""What of an interval between two verdicts only waits: checkpoint and preview, written after the evaluation or beside it.

    python -m tests.benchmarks.evaluation_interval [--rounds 3] [--bandwidth 100]

For the demo, the small StyleGAN2 and a StyleGAN2 of 64 px in the official width: the time of training and of an evaluation as the
specs have them, and of what was written after it before and is written beside it now. A storage of ``--bandwidth`` MB/s stands in
for one that is far; 0 leaves the local disk as it is. By the clock, as waiting takes no CPU time: on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.benchmarks.matrix_peak import SPECS
from tests.benchmarks.modulated_conv import CHANNEL_BASE
from tests.benchmarks.training_step import RandomPictures
from trainables.checkpoint import TrialFiles
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.evaluation import FixedInputs, Pictures, TrialEvaluator
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.storage import Storage
from tuner.spec import load_spec
from tuner.spec.checks import example_configs

METRIC = "fid[efficientnet_lite2,64px,n=250]"


class FarStorage(Storage):
    """One that takes its time for every byte."""

    bandwidth = 0.0  # bytes a second; 0: as fast as it is

    def write_parts(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        super().write_parts(name, map(self._slowly, parts))

    def _slowly(self, part: bytes | memoryview) -> bytes | memoryview:
        if self.bandwidth:
            time.sleep(len(part) / self.bandwidth)
        return part


class Interval(NamedTuple):
    """Seconds, and megabytes of a checkpoint."""

    training: float
    evaluating: float
    after: float  # preview and checkpoint, written one after the other once the evaluation has ended
    beside: float  # what is left to wait for where they are written beside it
    megabytes: float


def took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def configs(batch_size: int) -> dict[str, TrialConfig]:
    found = {name: example_configs(load_spec(spec))[-1] for name, spec in SPECS.items()}
    widths = {"name": "stylegan2", "channel_base": CHANNEL_BASE}
    found["StyleGAN2, 64 px"] = TrialConfig(
        generator=widths, discriminator=widths, resolution=64, kimg=1e6, augment=(),
        evaluation={"metric": METRIC, "every_kimg": 4},
    )  # fmt: skip
    return {name: config.model_copy(update={"batch_size": batch_size}) for name, config in found.items()}


def measure(config: TrialConfig, rounds: int, folder: Path, bandwidth: float) -> Interval:
    """Medians."""
    random = RandomPictures(config.resolution)
    pictures = ImageDataset(random.images, tuple(map(str, range(len(random)))), "random")
    trainer = GanTrainer(config, pictures)
    inputs = FixedInputs(trainer.task, Pictures(pictures, pictures, pictures, None), trainer.z_dim, trainer.device)
    evaluator = TrialEvaluator([METRIC], inputs, cache_dir=str(folder / "cache"), collective=Collective())
    storage = FarStorage(folder / "trial")
    storage.bandwidth = bandwidth
    files, step = TrialFiles(storage), max(trainer.step_index, 1)
    trainer.step()
    steps = config.evaluation.every_kimg * 1000 / config.batch_size
    report: dict[str, Any] = {"step": step}

    def preview() -> bytes:
        return png(grid(*inputs.preview(trainer.sample, config.evaluation.preview)))

    rows = []
    for _ in range(rounds):
        training, evaluating = took(trainer.step) * steps, took(lambda: evaluator(trainer.sample))
        after = took(lambda: files.save(trainer.state_dict(), report, preview(), is_best=True))

        def both() -> None:
            with files.saving(trainer.state_dict(), step, preview) as saving:
                evaluator(trainer.sample)
                saving.finish(report, is_best=True)

        rows.append((training, evaluating, after, took(both) - evaluating))
    size = (folder / "trial" / f"checkpoint_{step:08d}.pt").stat().st_size / 1e6
    return Interval(*map(statistics.median, zip(*rows, strict=True)), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bandwidth", type=float, default=0, help="of the storage, in MB/s; 0 for the disk as it is")
    parser.add_argument("--batch", type=int, default=32, help="pictures in a batch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| | checkpoint MB | training s | evaluation s | written after it s | share that waits | beside it s | share |")
    print("|---|---|---|---|---|---|---|---|")
    for name, config in configs(arguments.batch).items():
        with tempfile.TemporaryDirectory() as folder:
            found = measure(config, arguments.rounds, Path(folder), arguments.bandwidth * 1e6)
        before, now = (found.training + found.evaluating + waits for waits in (found.after, found.beside))
        print(
            f"| {name} | {found.megabytes:.0f} | {found.training:.1f} | {found.evaluating:.1f} | {found.after:.2f} "
            f"| {found.after / before:.1%} | {max(found.beside, 0):.2f} | {max(found.beside, 0) / now:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
