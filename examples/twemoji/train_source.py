"""Trains the demo's source checkpoint on all emoji outside the target domain; `make source` runs it.

First a generator from scratch against EfficientNet-Lite0, then, from that generator, heads for EfficientNet-Lite1. The file
holds the first phase's averaged generator and both sets of heads, in float16. About 25 minutes on two idle cores. Interrupted,
it goes on from its last checkpoint when started again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torchvision.utils import save_image

from trainables.config import TrialConfig
from trainables.data import DataOptions, load_dataset
from trainables.gan import GanTrainer
from trainables.randomness import noise
from trainables.source import save_source

RESOLUTION = 32
COMMON = {
    "resolution": RESOLUTION,
    "batch_size": 32,
    "adversarial": "hinge",
    "discriminator": {"name": "trunk", "frozen_depth": 5, "scales": 4, "input_px": 64},
    "evaluation": {"metric": "none: the source is not part of a search"},
}
OPTIMIZER = {"generator_lr": 5e-4, "discriminator_lr": 5e-4}


def main() -> None:
    """Trains both phases and writes the source checkpoint and a grid of its samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of source-domain pictures (examples/twemoji/images.py writes it)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "source_32px.safetensors")
    parser.add_argument("--work", type=Path, default=Path("sweeps/source"), help="folder for checkpoints and grids")
    parser.add_argument("--kimg", type=float, default=74, help="length of the first phase")
    parser.add_argument("--heads-kimg", type=float, default=6, help="length of the second phase")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(DataOptions(path=str(args.images), resolution=RESOLUTION), args.work / "cache")

    first = GanTrainer(TrialConfig(**COMMON, kimg=args.kimg, optimizer=OPTIMIZER, ema={"halflife_kimg": 5}), dataset)
    train(first, args.work / "phase1.pt")
    first.generator.load_state_dict(first.ema.state_dict())
    start = args.work / "phase1.safetensors"
    save_source(start, first.ema, {}, {})
    second = GanTrainer(
        TrialConfig(
            **COMMON, kimg=args.heads_kimg, backbone="efficientnet_lite1", source=str(start),
            optimizer=OPTIMIZER | {"generator_lr": 5e-5},
        ),
        dataset,
    )  # fmt: skip
    train(second, args.work / "phase2.pt")
    heads = {"efficientnet_lite0": first.discriminator, "efficientnet_lite1": second.discriminator}
    options = first.config.generator.model_dump()
    save_source(args.out, first.ema, heads, {"resolution": RESOLUTION, "generator": options})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def train(trainer: GanTrainer, checkpoint: Path) -> None:
    """Trains to the end, keeping ``checkpoint`` and a grid beside it up to date every 2000 images or so."""
    if checkpoint.is_file():
        trainer.load_state_dict(torch.load(checkpoint, weights_only=True))
    grid_noise = noise(64, trainer.config.generator.z_dim, 0, "grid")
    started, started_at = time.monotonic(), trainer.images_seen
    while not trainer.done:
        losses = trainer.step()
        if trainer.step_index % 64 == 0 or trainer.done:
            part = checkpoint.with_suffix(".part")
            torch.save(trainer.state_dict(), part)
            part.replace(checkpoint)
            save_image(trainer.sample(grid_noise), checkpoint.with_suffix(".png"), nrow=8, value_range=(-1, 1), normalize=True)
            rate = (trainer.images_seen - started_at) / (time.monotonic() - started)
            text = "  ".join(f"{name} {float(value):.3f}" for name, value in losses.items())
            print(f"{checkpoint.stem} {trainer.kimg:.1f}/{trainer.config.kimg:g} kimg  {rate:.0f} img/s  {text}", flush=True)


if __name__ == "__main__":
    main()
