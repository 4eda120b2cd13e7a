"""Trains the small StyleGAN2 that the examples fine-tune, on all emoji outside the target domain; `make stylegan2-source` runs it.

Its generator learns against its own discriminator and, beside it, heads on a frozen EfficientNet-Lite0 (vision-aided GAN, Kumari
et al. 2022), which at this length is what makes the pictures good. The file holds the averaged generator, StyleGAN2's
discriminator and the heads, in float16. About 90 minutes on two idle cores. Interrupted, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from trainables.config import TrialConfig
from trainables.data import DataOptions, load_dataset
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.randomness import noise
from trainables.source import save_source

RESOLUTION = 32
WIDTHS = {"channel_base": 2048, "channel_max": 128}
GENERATOR = {"name": "stylegan2", "z_dim": 128, "w_dim": 128, "mapping_layers": 4, "style_mixing": 0.5, **WIDTHS}
OWN = {"name": "stylegan2", **WIDTHS}
BESIDE = {"name": "trunk", "frozen_depth": 5, "scales": 4, "input_px": 64}
SETTINGS: dict[str, Any] = {
    "resolution": RESOLUTION,
    "batch_size": 32,
    "seed": 0,
    "generator": GENERATOR,
    "discriminator": {"name": "ensemble", "members": [OWN, BESIDE]},
    "regularisers": [{"name": "r1"}],
    "optimizer": {"generator_lr": 2e-3, "discriminator_lr": 1e-3},
    "ema": {"halflife_kimg": 5},
    "evaluation": {"metric": "none: the source is not part of a search"},
}


def main() -> None:
    """Trains, and writes the source and a grid of its samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of source-domain pictures (examples/twemoji/images.py writes it)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "source_32px.safetensors")
    parser.add_argument("--work", type=Path, default=Path("sweeps/stylegan2-source"), help="folder for checkpoint and grid")
    parser.add_argument("--kimg", type=float, default=150)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(DataOptions(path=str(args.images), resolution=RESOLUTION), args.work / "cache")
    config = TrialConfig(**SETTINGS, kimg=args.kimg)
    trainer = GanTrainer(config, dataset)
    train(trainer, args.work / "checkpoint.pt")
    own, beside = trainer.discriminator.members  # type: ignore[misc, union-attr]
    options = {"generator": config.generator.model_dump(), "discriminator": OWN}
    metadata = {"resolution": RESOLUTION, "name": "Twemoji but smileys, 32 px", "kimg": args.kimg, **options}
    save_source(args.out, trainer.ema, {"stylegan2": own, config.backbone: beside}, metadata)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def train(trainer: GanTrainer, checkpoint: Path) -> None:
    """Trains to the end, keeping ``checkpoint`` and a grid beside it up to date every 2000 images or so."""
    if checkpoint.is_file():
        trainer.load_state_dict(torch.load(checkpoint, weights_only=True))
    latents = noise(64, trainer.z_dim, 0, "grid")
    started, started_at = time.monotonic(), trainer.images_seen
    while not trainer.done:
        losses = trainer.step()
        if trainer.step_index % 64 == 0 or trainer.done:
            part = checkpoint.with_suffix(".part")
            torch.save(trainer.state_dict(), part)
            part.replace(checkpoint)
            checkpoint.with_suffix(".png").write_bytes(png(grid(trainer.sample(latents), scale=3)))
            rate = (trainer.images_seen - started_at) / (time.monotonic() - started)
            text = "  ".join(f"{name} {float(value):.3f}" for name, value in losses.items())
            print(f"{trainer.kimg:.1f}/{trainer.config.kimg:g} kimg  {rate:.0f} img/s  {text}", flush=True)


if __name__ == "__main__":
    main()
