"""How fast a StyleGAN2 trains on a GPU: images/s by resolution, precision and number of GPUs, beside a bare loop.

    python -m tests.benchmarks.gpu [--sides 64 128 256 512] [--modes float32 TF32 bfloat16] [--workers 1 2] [--steps 32]

Each row is measured in processes of its own: `GanTrainer` and a loop written by hand for the same networks and losses, one after
the other, with the same pictures at random. Networks are those of StyleGAN2-ADA's configuration for that side, with R1 every 16
steps and no augmentation in either. At 256 px the time for a thousand images stands beside the 12.5 s that StyleGAN2-ADA's
authors publish for an A100 (with custom kernels and mixed precision). Two workers need two GPUs, as NCCL takes one for each.

Without CUDA it says so and goes through the same code at a small size over gloo; those numbers say nothing of a GPU.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F

from tests.benchmarks.training_step import RandomPictures, shares
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.gan import GanTrainer
from trainables.networks import build_discriminator, build_generator, build_task, parameters_of
from trainables.optim import build_optimizer, update_ema
from trainables.speed import apply_kernels

PUBLISHED = {256: 12.5}
"""Seconds for a thousand images of StyleGAN2-ADA on an A100, by resolution."""
MODES: dict[str, dict[str, Any]] = {
    "float32, exact": {"kernels": "exact"},  # neither TF32 nor a search for the quickest kernel
    "TF32": {"kernels": "fast"},
    "bfloat16": {"kernels": "fast", "precision": "bfloat16", "channels_last": True},
}
R1_EVERY, SMALL = 16, {"channel_base": 256, "channel_max": 16, "mapping_layers": 2}


class Job(NamedTuple):
    """A row of the table."""

    side: int
    mode: str
    workers: int
    batch: int  # of all workers together
    steps: int
    small: bool  # networks of next to nothing


class Row(NamedTuple):
    """What the first worker measured; pictures are those of all workers."""

    trainer: float  # images/s
    bare: float
    peak_mib: float  # of the first GPU, with the trainer; 0 on a CPU
    shares: dict[str, float]  # of a step


def config_of(job: Job) -> TrialConfig:
    widths = SMALL if job.small else {"channel_base": 16384 if job.side < 512 else 32768}
    d_widths = {key: value for key, value in widths.items() if key != "mapping_layers"}
    return TrialConfig(
        resolution=job.side,
        batch_size=job.batch,
        kimg=1e6,
        generator={"name": "stylegan2", **widths},
        discriminator={"name": "stylegan2", **d_widths},
        regularisers=[{"name": "r1", "every": R1_EVERY}],
        feature_loss={"layers": []},
        augment=[],
        speed=MODES[job.mode],
        evaluation={"metric": "none"},
    )


def bare_steps(config: TrialConfig, pictures: RandomPictures, collective: Collective, device: torch.device) -> Iterator[None]:
    """The loop, a step for each `next`."""
    task, speed, batch = build_task(config.task, config.resolution), config.speed, config.batch_size // collective.world_size
    generator = speed.lay_out(build_generator(config.generator, task, config.backbone).to(device))
    discriminator = build_discriminator(config.discriminator, task, config.backbone, "random")
    discriminator = speed.lay_out(discriminator.to(device))
    ema = copy.deepcopy(generator).requires_grad_(False)
    g_parameters, d_parameters = parameters_of(generator), parameters_of(discriminator)
    g_optimizer = build_optimizer(generator, config.optimizer.generator_lr, config.optimizer)
    d_optimizer = build_optimizer(discriminator, config.optimizer.discriminator_lr, config.optimizer)
    gamma = 0.0002 * config.resolution**2 / config.batch_size
    held = pictures.images.to(device)

    def latents() -> torch.Tensor:
        return torch.randn(batch, config.generator.z_dim, device=device)

    def train(on: bool) -> None:
        for _, parameter in d_parameters:
            parameter.requires_grad_(on)

    step = 0
    while True:
        real = held[torch.randint(len(held), (batch,), device=device)].float() / 127.5 - 1
        train(True)
        d_optimizer.zero_grad(set_to_none=True)
        with speed.autocast(device):
            with torch.no_grad():
                fake = generator(latents(), noise="random")
            both = discriminator(speed.images(torch.cat([real, fake.to(real.dtype)])))[0].float()
        (F.softplus(-both[:batch]).mean() + F.softplus(both[batch:]).mean()).backward()
        if step % R1_EVERY == 0:
            images = real.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(images)[0].sum(), images, create_graph=True)
            (gamma / 2 * R1_EVERY * gradient.square().sum(dim=(1, 2, 3)).mean()).backward()
        collective.average_gradients(parameter for _, parameter in d_parameters)
        d_optimizer.step()
        train(False)
        g_optimizer.zero_grad(set_to_none=True)
        with speed.autocast(device):
            logits = discriminator(speed.images(generator(latents(), noise="random")))[0].float()
        F.softplus(-logits).mean().backward()
        collective.average_gradients(parameter for _, parameter in g_parameters)
        g_optimizer.step()
        step += 1
        update_ema(ema, generator, config.batch_size, config.ema.halflife(step * config.batch_size, pretrained=False))
        yield


def rate(next_step: Callable[[], object], job: Job, device: torch.device) -> float:
    """Images per second, by the clock, after a first round with whatever is lazy."""
    for timed in (False, True):
        started = time.perf_counter()
        for _ in range(job.steps if timed else 2):
            next_step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return job.steps * job.batch / (time.perf_counter() - started)


def measure(job: Job, rank: int, rendezvous: str) -> Row:
    """One worker's part of a row. For a process of its own."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    if job.workers > 1:
        dist.init_process_group("nccl" if cuda else "gloo", init_method=rendezvous, rank=rank, world_size=job.workers)
    config, collective, pictures = config_of(job), Collective(), RandomPictures(job.side)
    apply_kernels(config.speed)
    bare = rate(bare_steps(config, pictures, collective, device).__next__, job, device)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    trainer = GanTrainer(config, pictures, collective=collective, device=device)
    ours = rate(trainer.step, job, device)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if cuda else 0.0
    parts = shares(config, device, job.steps) if job.workers == 1 else {}
    if job.workers > 1:
        dist.destroy_process_group()
    return Row(ours, bare, peak, parts)


def run(job: Job) -> Row:
    """A row, measured in fresh processes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(job.workers, mp_context=get_context("spawn")) as pool,
    ):
        rendezvous = f"file://{Path(folder) / 'rendezvous'}"
        first, *others = (pool.submit(measure, job, rank, rendezvous) for rank in range(job.workers))
        for other in others:
            other.result()
        return first.result()


def said(job: Job, row: Row) -> str:
    """A line of the table."""
    published = PUBLISHED.get(job.side)
    beside = f"{published / (1000 / row.trainer):.2f} x" if published and not job.small else ""
    parts = ", ".join(f"{name} {share:.0%}" for name, share in row.shares.items())
    return (
        f"| {job.side} | {job.mode} | {job.workers} | {job.batch} | {row.trainer:.1f} | {row.bare:.1f} "
        f"| {row.trainer / row.bare:.3f} | {1000 / row.trainer:.1f} | {beside} | {row.peak_mib:.0f} | {parts} |"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=None, help="of the pictures; 64 to 512, or 16 without a GPU")
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--batch", type=int, default=None, help="of each worker; 32 on a GPU and 4 without")
    parser.add_argument("--steps", type=int, default=None, help="that are timed; 32 on a GPU and 1 without")
    given = parser.parse_args(arguments)
    gpus = torch.cuda.device_count()
    sides = given.sides or ([64, 128, 256, 512] if gpus else [16])
    batch, steps = given.batch or (32 if gpus else 4), given.steps or (32 if gpus else 1)
    if gpus:
        print(f"{torch.cuda.get_device_name()}, {gpus} of them")
    else:
        print("no CUDA device is here: the same code at a small size on the CPU, whose numbers say nothing of a GPU")
    columns = ["px", "mode", "workers", "batch", "images/s", "bare loop", "ratio", "s/kimg", "of the published", "peak MiB"]
    print("\n| " + " | ".join([*columns, "share of a step"]) + " |\n" + "|---" * 11 + "|")
    for side in sides:
        for mode in given.modes:
            for workers in given.workers:
                if gpus and workers > gpus:
                    print(f"| {side} | {mode} | {workers} | needs as many GPUs |")
                    continue
                job = Job(side, mode, workers, batch * workers, steps, small=not gpus)
                print(said(job, run(job)), flush=True)


if __name__ == "__main__":
    main()
