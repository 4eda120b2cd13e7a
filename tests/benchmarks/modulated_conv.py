"""A training step of StyleGAN2 whose modulated convolutions scale activations, against one with a kernel for each sample.

    python -m tests.benchmarks.modulated_conv [--resolution 64] [--batch 8] [--rounds 5] [--threads 1] [--channels-last]

The second is the straightforward form of the layer (Karras et al. 2020, section 2.2): style and demodulation go into the weights,
and one grouped convolution applies to each sample a kernel of its own. Both trainers start from the same parameters and must make
the same pictures before anything is timed. They take turns, in an order that alternates; the median of the rounds' ratios counts.
D is the same in both: the ratio of G's step says more of the layer, that of both steps what a user waits for.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.benchmarks.training_step import RandomPictures, seconds
from trainables.config import TrialConfig
from trainables.gan import GanTrainer
from trainables.layers.equalized import leaky_relu
from trainables.layers.fir import smooth
from trainables.layers.modulated import ModulatedConv, ToRgb
from trainables.networks import parameters_of
from trainables.randomness import noise

TOLERANCE = 1e-5  # between pictures of the two forms, relative to the largest value
CHANNEL_BASE = 16384  # of the official configuration at 64 px: 22 M and 23 M parameters
OURS, OTHER = "activations scaled", "a kernel for each sample"


class KernelsConv(ModulatedConv):
    """`ModulatedConv` with a kernel for each sample."""

    def forward(self, x: Tensor, w: Tensor, keys: Tensor | None, purpose: int, gain: float = 1.0) -> Tensor:
        style, weight = self.adapted(self.affine(w))
        kernels = weight[None] * style[:, None, :, None, None]
        kernels = kernels * torch.rsqrt(kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        x = convolved(x, kernels, up=self.up) + (self._noise(keys, purpose) * self.noise_strength)[:, None]
        return leaky_relu(x + self.bias[:, None, None], gain, self.clamp)


class KernelsToRgb(ToRgb):
    """`ToRgb` with a kernel for each sample."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.adapted(self.affine(w) * self.gain)
        x = convolved(x, weight[None] * style[:, None, :, None, None], up=False) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


def convolved(x: Tensor, kernels: Tensor, *, up: bool) -> Tensor:
    """[N, in, h, w] and [N, out, in, k, k] → [N, out, h, w], or twice as large; each sample with its own kernel."""
    count, size = len(x), kernels.shape[-1]
    side_by_side = x.reshape(1, -1, *x.shape[2:])
    if not up:
        y = F.conv2d(side_by_side, kernels.flatten(0, 1), padding=size // 2, groups=count)
        return y.reshape(count, -1, *y.shape[2:])
    y = F.conv_transpose2d(side_by_side, kernels.transpose(1, 2).flatten(0, 1), stride=2, groups=count)
    return smooth(y.reshape(count, -1, *y.shape[2:]), padding=2 - size // 2, gain=4.0)


def with_kernels(generator: nn.Module) -> nn.Module:
    """``generator`` itself, with its layers changed to the form that has a kernel for each sample; parameters stay."""
    for module in generator.modules():
        for ours, other in ((ModulatedConv, KernelsConv), (ToRgb, KernelsToRgb)):
            if type(module) is ours:
                module.__class__ = other
    return generator


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, z: Tensor) -> float:
    """The largest between two generators' pictures of ``z``, constant and random noise, relative to the largest value."""
    pairs = [(one(z, noise=kind), other(z, noise=kind)) for kind in ("const", "random")]
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def config_of(resolution: int, batch: int, channels_last: bool = False, channel_base: int = CHANNEL_BASE) -> TrialConfig:
    return TrialConfig(
        generator={"name": "stylegan2", "channel_base": channel_base},
        discriminator={"name": "stylegan2", "channel_base": channel_base},
        resolution=resolution, batch_size=batch, kimg=1e9, augment=(), speed={"channels_last": channels_last},
        evaluation={"metric": "none"},
    )  # fmt: skip


def trainer_of(config: TrialConfig, device: torch.device) -> GanTrainer:
    """Its biases and strengths of noise, of which many start at 0, count."""
    trainer = GanTrainer(config, RandomPictures(config.resolution), device=device)
    with torch.no_grad():
        for parameter in trainer.generator.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.1)
    return trainer


def compare(trainers: dict[str, GanTrainer], rounds: int, device: torch.device) -> dict[str, tuple[float, float, float]]:
    """Of D's step, G's step and both: median seconds of either form, and the median over rounds of the second by the first."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for number in range(rounds + 1):  # the first warms up
        for name in sorted(trainers, reverse=bool(number % 2)):
            trainer = trainers[name]
            batch = trainer.batches.at(number)
            steps = seconds(partial(trainer.d_step, batch), device), seconds(partial(trainer.g_step, batch), device)
            if number:
                took[name].append(steps)
    found = {}
    for part, of in {"D's step": lambda s: s[0], "G's step": lambda s: s[1], "both": sum}.items():
        ours, other = ([of(steps) for steps in took[name]] for name in (OURS, OTHER))
        ratios = [b / a for a, b in zip(ours, other, strict=True)]
        found[part] = statistics.median(ours), statistics.median(other), statistics.median(ratios)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    config = config_of(args.resolution, args.batch, args.channels_last)
    trainers = {name: trainer_of(config, device) for name in (OURS, OTHER)}
    ours, other = trainers[OURS].generator, with_kernels(trainers[OTHER].generator)
    apart = difference(ours, other, noise(4, trainers[OURS].z_dim, 0, "check").to(device))
    if not apart <= TOLERANCE:
        raise SystemExit(f"pictures of the two forms may differ by {TOLERANCE:g} of the largest value, but do by {apart:.1e}")
    networks = ours, trainers[OURS].discriminator
    millions = " and ".join(f"{sum(p.numel() for _, p in parameters_of(network)) / 1e6:.1f} M" for network in networks)
    print(
        f"{torch.cuda.get_device_name() if cuda else f'CPU, threads: {args.threads}'}; {args.resolution} px, batch {args.batch}, "
        f"{millions} parameters{', channels last' if args.channels_last else ''}; median of {args.rounds} rounds; "
        f"pictures agree to {apart:.0e}\n"
    )
    unit = "s" if cuda else "CPU s"
    print(f"| | {OURS}, {unit} | {OTHER}, {unit} | ratio |\n|---|---|---|---|")
    for part, (first, second, ratio) in compare(trainers, args.rounds, device).items():
        print(f"| {part} | {first:.2f} | {second:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
