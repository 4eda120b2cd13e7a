"""Images per second of `GanTrainer.step` and of a bare loop over the same networks and losses, taking turns in one process.

    python -m tests.benchmarks.training_step [--rounds 24] [--steps 1] [--threads 1]

The bare loop is what one would write by hand for this one setting: the same networks, objective, augmentation, optimizers and
averaged generator, with torch's global random numbers and nothing for several workers, micro-batches, precision, guards or
resuming. A round times some steps of either, in an order that alternates; the median of the rounds' ratios counts. Then the share
of each part of a step, and the peak memory of either loop in a process of its own. With CUDA all of it is done there, at 64, 128
and 256 px in float32 and bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.augment import augmentation_numbers, augmented
from trainables.backbones import BACKBONES, load_backbone, resize
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.gan import GanTrainer
from trainables.losses import feature_loss
from trainables.networks import build_discriminator, build_generator, build_task, parameters_of
from trainables.optim import build_optimizer, update_ema

PICTURES = 512
SETTINGS: dict[str, dict[str, Any]] = {
    "generation": {
        "discriminator": {"name": "trunk", "scales": 4, "frozen_depth": 5, "input_px": 64},
        "feature_loss": {"layers": ["blocks.1", "blocks.2", "blocks.4"], "input_px": 64},
        "adversarial": "hinge",
        "augment": ["translation", "cutout"],
    },
    "super_resolution": {"adversarial": "hinge", "feature_loss": {"layers": ["blocks.1", "blocks.2"]}},
}


class RandomPictures:
    """Bytes at random, in memory: what they show does not matter to the clock."""

    def __init__(self, resolution: int) -> None:
        self.images = torch.randint(256, (PICTURES, 3, resolution, resolution), dtype=torch.uint8)

    def __len__(self) -> int:
        return PICTURES

    def pixels(self, indices: Tensor) -> Tensor:
        return self.images.index_select(0, indices)

    def batch(self, indices: Tensor) -> Tensor:
        return self.pixels(indices).float() / 127.5 - 1


def config_of(task: str, resolution: int, batch_size: int, precision: str) -> TrialConfig:
    settings = copy.deepcopy(SETTINGS[task])
    for part in ("discriminator", "feature_loss"):
        if "input_px" in settings.get(part, {}):
            settings[part]["input_px"] = max(64, resolution)
    return TrialConfig(
        **settings, task=task, resolution=resolution, batch_size=batch_size, kimg=1e9, evaluation={"metric": "none"},
        speed={"precision": precision, "channels_last": precision == "bfloat16"},
    )  # fmt: skip


def bare_steps(config: TrialConfig, pictures: RandomPictures, device: torch.device) -> Iterator[None]:
    """The loop, a step for each `next`."""
    torch.manual_seed(0)
    task = build_task(config.task, config.resolution)
    speed, features, n, step = config.speed, config.feature_loss, config.batch_size, 0
    info = BACKBONES[config.backbone]
    generator = speed.lay_out(build_generator(config.generator, task, config.backbone, config.weights).to(device))
    discriminator = build_discriminator(config.discriminator, task, config.backbone, config.weights)
    discriminator = speed.lay_out(discriminator.to(device))
    extractor = speed.lay_out(load_backbone(info, config.weights).freeze(info.depth).to(device))
    ema = copy.deepcopy(generator).requires_grad_(False)
    d_parameters = parameters_of(discriminator)
    g_optimizer = build_optimizer(generator, config.optimizer.generator_lr, config.optimizer)
    d_optimizer = build_optimizer(discriminator, config.optimizer.discriminator_lr, config.optimizer)
    random = torch.Generator().manual_seed(0)

    def shown(images: Tensor) -> Tensor:
        return augmented(images, config.augment, augmentation_numbers(n, config.augment, random))

    def made(inputs: Tensor) -> Tensor:
        with speed.autocast(device):
            output = generator(inputs)
        return task.compose(inputs, output.float())

    def judged(images: Tensor, condition: Tensor | None) -> list[Tensor]:
        with speed.autocast(device):
            return [logits.float() for logits in discriminator(speed.images(images), condition)]

    def looked_at(images: Tensor) -> dict[str, Tensor]:
        with speed.autocast(device):
            return extractor(resize(speed.images(images), features.input_px), features.layers)

    while True:
        real = pictures.batch(torch.randint(PICTURES, (n,))).to(device)
        condition: Tensor | None = None
        if task.in_channels:
            inputs_d = inputs_g = condition = speed.images(task.degrade(real, torch.randint(2**62, (n,), device=device)))
        else:
            inputs_d, inputs_g = (torch.randn(n, config.generator.z_dim, device=device) for _ in range(2))
        both = None if condition is None else torch.cat([condition, condition])
        for _, parameter in d_parameters:
            parameter.requires_grad_(True)
        with torch.no_grad():
            fake = made(inputs_d)
        logits = [x.tensor_split(2) for x in judged(torch.cat([shown(real), shown(fake)]), both)]
        d_losses = [F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean() for of_real, of_fake in logits]
        d_optimizer.zero_grad(set_to_none=True)
        torch.stack(d_losses).mean().backward()
        d_optimizer.step()
        for _, parameter in d_parameters:
            parameter.requires_grad_(False)
        fake = made(inputs_g)
        loss = -torch.stack([x.mean() for x in judged(shown(fake), condition)]).mean()
        with torch.no_grad():
            wanted = looked_at(real)
        loss = loss + features.weight * feature_loss(looked_at(fake), wanted, features, Collective())
        if config.reconstruction.weight:
            loss = loss + config.reconstruction.weight * (fake - real).abs().mean()
        g_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        g_optimizer.step()
        step += 1
        update_ema(ema, generator, n, config.ema.halflife(step * n, pretrained=False))
        yield


def trainer_steps(config: TrialConfig, pictures: RandomPictures, device: torch.device) -> Iterator[None]:
    trainer = GanTrainer(config, pictures, device=device)
    while True:
        trainer.step()
        yield


LOOPS = {"trainer": trainer_steps, "bare": bare_steps}


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Until the device has done what ``run`` asked of it; of a CPU, its own seconds, whatever else the machine is doing."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def compare(config: TrialConfig, device: torch.device, rounds: int, steps: int) -> dict[str, float]:
    """Images per second of either loop, and the median over rounds of their ratio."""
    pictures = RandomPictures(config.resolution)
    loops = {name: steps_of(config, pictures, device) for name, steps_of in LOOPS.items()}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):  # the first warms up
        for name in sorted(loops, reverse=bool(number % 2)):
            took = seconds(lambda loop=loops[name]: [next(loop) for _ in range(steps)], device)  # type: ignore[misc]
            if number:
                rates[name].append(steps * config.batch_size / took)
    ratios = [a / b for a, b in zip(rates["trainer"], rates["bare"], strict=True)]
    return {name: statistics.median(values) for name, values in rates.items()} | {"ratio": statistics.median(ratios)}


def shares(config: TrialConfig, device: torch.device, steps: int) -> dict[str, float]:
    """Which part of a step's time goes where; the device is waited for after each part."""
    trainer = GanTrainer(config, RandomPictures(config.resolution), device=device)
    totals = dict.fromkeys(("data", "d_step", "g_step", "ema"), 0.0)
    for number in range(steps + 1):
        batches: list[Any] = []
        took = {
            "data": seconds(lambda: batches.append(trainer.batches.at(trainer.step_index)), device),  # noqa: B023
            "d_step": seconds(lambda: trainer.d_step(batches[0]), device),  # noqa: B023
            "g_step": seconds(lambda: trainer.g_step(batches[0]), device),  # noqa: B023
        }
        trainer.step_index += 1
        took["ema"] = seconds(
            lambda: update_ema(trainer.ema, trainer.generator, config.batch_size, config.ema.halflife_kimg * 1000), device
        )
        if number:
            totals = {name: totals[name] + took[name] for name in totals}
    return {name: value / sum(totals.values()) for name, value in totals.items()}


def peak_mib(config: TrialConfig, name: str, device: torch.device, threads: int) -> float:
    """MiB at most: of the GPU, or without one of the whole process. For a process of its own."""
    torch.set_num_threads(threads)
    loop = LOOPS[name](config, RandomPictures(config.resolution), device)
    for _ in range(3):
        next(loop)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage's ru_maxrss: that begins at the peak of the process that started this one.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


def report(config: TrialConfig, device: torch.device, arguments: argparse.Namespace) -> None:
    """A row of the table."""
    found = compare(config, device, arguments.rounds, arguments.steps)
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares(config, device, arguments.rounds).items())
    memory = []
    for name in LOOPS:  # a fresh process each: a process's peak never falls
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            memory.append(pool.submit(peak_mib, config, name, device, arguments.threads).result())
    print(
        f"| {config.task.name} | {config.resolution} px, {config.speed.precision}, batch {config.batch_size} "
        f"| {found['trainer']:.1f} | {found['bare']:.1f} | {found['ratio']:.3f} | {memory[0]:.0f} / {memory[1]:.0f} | {parts} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--steps", type=int, default=1, help="steps of a round")
    parser.add_argument("--batch", type=int, default=None, help="pictures in a batch; 16 on a CPU, 64 on a GPU when left out")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    batch = arguments.batch or (64 if cuda else 16)
    sizes = [(px, precision) for px in (64, 128, 256) for precision in ("float32", "bfloat16")] if cuda else [(32, "float32")]
    unit = "images/s" if cuda else "images per CPU second"
    where = torch.cuda.get_device_name() if cuda else f"CPU, threads: {arguments.threads}"
    print(f"{where}; median of {arguments.rounds} rounds of {arguments.steps} steps\n")
    print(f"| task | | {unit} | bare loop | ratio | peak MiB, trainer / bare | share of a step |\n|---|---|---|---|---|---|---|")
    for task in SETTINGS:
        for resolution, precision in sizes:
            report(config_of(task, resolution, batch, precision), device, arguments)


if __name__ == "__main__":
    main()
