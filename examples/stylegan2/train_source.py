"""Trains the small StyleGAN2 that the examples fine-tune, on all emoji outside the target domain: `make stylegan2-source`.

In the hours that a laptop has, a StyleGAN2 from scratch hardly gets beyond one shape in many colours: all its pictures start from
one constant. So it first learns to draw what the demo's small generator, trained on the same emoji, draws from the same latents,
which gives it their variety, though blurred. Then it trains as a GAN, against its own discriminator and, beside it, a projected
one on a frozen EfficientNet-Lite0 (vision-aided GAN, Kumari et al. 2022), with the feature loss. The file holds the averaged
generator, StyleGAN2's discriminator and the projected heads, in float16. About 35 minutes on one core. Interrupted in the
second phase, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from trainables.config import TrialConfig
from trainables.data import DataOptions, load_dataset
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.pictures import grid, png
from trainables.randomness import noise
from trainables.source import load_generator, save_source

HERE = Path(__file__).parent
RESOLUTION = 32
WIDTHS = {"channel_base": 2048, "channel_max": 128}
GENERATOR = {"name": "stylegan2", "z_dim": 128, "w_dim": 128, "mapping_layers": 4, **WIDTHS}
OWN = {"name": "stylegan2", **WIDTHS}
SETTINGS: dict[str, Any] = {
    "resolution": RESOLUTION,
    "batch_size": 32,
    "seed": 0,
    "discriminator": {"name": "ensemble", "members": [OWN, {"name": "projected", "input_px": 64}]},
    "adversarial": "hinge",
    "regularisers": [{"name": "r1"}],
    "feature_loss": {"layers": ["blocks.1", "blocks.2", "blocks.4"], "form": "covariance", "input_px": 64},
    "optimizer": {"generator_lr": 1e-3, "discriminator_lr": 1e-3},
    "ema": {"halflife_kimg": 2},
    "evaluation": {"metric": "none: the source is not part of a search"},
}


def main() -> None:
    """Both phases, and writes the source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of source-domain pictures (examples/twemoji/images.py writes it)")
    parser.add_argument("--teacher", type=Path, default=HERE.parent / "twemoji" / "source_32px.safetensors")
    parser.add_argument("--out", type=Path, default=HERE / "source_32px.safetensors")
    parser.add_argument("--work", type=Path, default=Path("sweeps/stylegan2-source"), help="folder for checkpoints and grids")
    parser.add_argument("--taught-kimg", type=float, default=40, help="length of the first phase")
    parser.add_argument("--kimg", type=float, default=50, help="length of the second phase")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    taught = args.work / "taught.safetensors"
    if not taught.is_file():
        teach(args.teacher, taught, args.taught_kimg)
    dataset = load_dataset(DataOptions(path=str(args.images), resolution=RESOLUTION), args.work / "cache")
    config = TrialConfig(**SETTINGS, source=str(taught), kimg=args.kimg)
    trainer = GanTrainer(config, dataset)
    train(trainer, args.work / "checkpoint.pt")
    own, beside = trainer.discriminator.members  # type: ignore[misc, union-attr]
    said = {"resolution": RESOLUTION, "name": "Twemoji but smileys, 32 px", "generator": GENERATOR, "discriminator": OWN}
    save_source(args.out, trainer.ema, {"stylegan2": own, config.backbone: beside}, said)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def teach(teacher: Path, out: Path, kimg: float) -> None:
    """A StyleGAN2 generator that draws, blurred, what the teacher draws from the same latents.

    The distance is that of the pictures and of smaller ones. The mapping network, which in a GAN learns a hundred times slower
    than all else, learns a fifth as fast.
    """
    torch.manual_seed(0)
    wanted = load_generator(teacher)
    cls = GENERATORS["stylegan2"]
    generator = cls(cls.Options(**GENERATOR), Frame(RESOLUTION), lambda channels: None)
    groups = [
        {"params": generator.synthesis.parameters(), "lr": 3e-3},
        {"params": generator.mapping.parameters(), "lr": 3e-3 * 20},  # its layers divide by 100
    ]
    optimizer, steps = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True), round(kimg * 1000 / 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        z = torch.randn(32, generator.z_dim)
        with torch.no_grad():
            target = wanted(z)
        made = generator(z, noise="random")
        sizes = [(made, target), *((F.avg_pool2d(made, s), F.avg_pool2d(target, s)) for s in (2, 4, 8))]
        loss = torch.stack([(a - b).abs().mean() for a, b in sizes]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 64 == 0:
            print(f"taught {step * 32 / 1000:.1f}/{kimg:g} kimg  loss {float(loss):.3f}", flush=True)
    with torch.no_grad():
        latents = noise(10_000, generator.z_dim, 0, "mean style")
        generator.mapping.w_avg.copy_(generator.style(latents).mean(0))
    said = {"resolution": RESOLUTION, "generator": GENERATOR}
    save_source(out, generator, {}, said, torch.float32)


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
