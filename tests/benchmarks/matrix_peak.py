"""How much of what a machine can multiply a step makes use of, by phase: for the demo and for the small StyleGAN2.

    python -m tests.benchmarks.matrix_peak [--rounds 7] [--threads 1] [--batch 32]

The peak is what one large matrix product reaches, in the same process and between the phases. Operations are those of matrix
products and convolutions, two for each multiplication with its addition, counted by torch's formulas (`torch.utils.flop_counter`)
but for the backward pass of a convolution, where these take a depthwise one for a full one. Time is CPU time and
the median over rounds, so that other programs matter less; they still take the caches and the memory's bandwidth. With CUDA all
of it is done there, by the clock.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from tests.benchmarks.training_step import RandomPictures, seconds
from trainables.backbones import BACKBONES, load_backbone
from trainables.config import TrialConfig
from trainables.gan import GanTrainer
from trainables.metrics.features import Extractor, quantise
from trainables.networks import make_pictures
from trainables.speed import apply_kernels
from tuner.spec import load_spec
from tuner.spec.checks import example_configs

EXAMPLES = Path(__file__).parents[2] / "examples"
SPECS = {"demo": EXAMPLES / "twemoji" / "sweep.yaml", "small StyleGAN2": EXAMPLES / "stylegan2" / "smileys.yaml"}
_MATRIX = 1024  # rows and columns

Work = Callable[[], object]


class Cost(NamedTuple):
    """Of a phase."""

    seconds: float
    operations: int

    def without(self, other: Cost) -> Cost:
        """What it takes beyond a phase that is a part of it."""
        return Cost(self.seconds - other.seconds, self.operations - other.operations)


def convolution_backward(grad_out: Any, x: Any, weight: Any, *rest: Any, **_: Any) -> int:
    """As many as forward, for each of the gradients that are wanted of input and weight. Of shapes."""
    transposed, wanted = rest[4], rest[7]
    moved = x if transposed else grad_out
    return 2 * moved[0] * math.prod(moved[2:]) * math.prod(weight) * (wanted[0] + wanted[1])


class Operations(TorchDispatchMode):
    """Counts those of what is done inside. Not `FlopCounterMode`, whose hooks on modules do not bear every graph of ours."""

    FORMULAS = flop_registry | {torch.ops.aten.convolution_backward: shape_wrapper(convolution_backward)}

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := self.FORMULAS.get(func._overloadpacket):
            self.count += formula(*args, **(kwargs or {}), out_val=out)
        return out


def peak(device: torch.device) -> tuple[Work, int]:
    """A product of two matrices, and its operations."""
    a, b = (torch.randn(_MATRIX, _MATRIX, device=device) for _ in range(2))
    return lambda: a @ b, 2 * _MATRIX**3


def phases(trainer: GanTrainer) -> dict[str, Work]:
    """A step and its parts, in which forward passes come before what holds them too."""
    batch, n = trainer.batches.at(1), trainer.config.batch_size
    both = torch.cat([batch.real, batch.real])
    judge = Extractor(
        "efficientnet_lite2", 64, "bilinear", device=trainer.device,
        load_backbone=lambda name: load_backbone(BACKBONES[name]).requires_grad_(False),
    )  # fmt: skip

    def made() -> Tensor:
        return make_pictures(trainer.task, trainer.generator, batch.inputs_g, noise="random")

    def judged() -> Tensor:
        trainer._train_discriminator(True)  # G's step leaves it without
        return torch.stack([logits.mean() for logits in trainer.discriminator(both)]).sum()

    def backward(loss: Tensor) -> None:
        loss.backward()
        for network in (trainer.generator, trainer.discriminator):
            network.zero_grad()

    def feature_loss() -> None:
        pictures = batch.real.clone().requires_grad_()
        for _, _, term in trainer.picture_losses(pictures, batch):
            term.backward()

    def at(index: int, step: Callable[..., object]) -> Work:
        def run() -> None:
            trainer.step_index = index
            step(batch)

        return run

    found: dict[str, Work] = {
        "D forward": judged,
        "D forward, backward": lambda: backward(judged()),
        "G forward": made,
        "G forward, backward": lambda: backward(made().sum()),
        "augmentation of D's pictures": lambda: trainer._augmented(both[:n], None, "d_real", batch),
        "D's step": at(1, trainer.d_step),
        "D's step with what is lazy": at(0, trainer.d_step),
        "G's step": at(1, trainer.g_step),
        "evaluation": lambda: judge(quantise(trainer.sample(batch.inputs_g))),
    }
    if trainer.config.uses_features:
        found["feature loss"] = feature_loss
    return found


def measured(works: Mapping[str, Work], rounds: int, device: torch.device) -> tuple[dict[str, Cost], float]:
    """Each phase's cost, and the peak in operations a second."""
    product, operations = peak(device)
    counted: dict[str, int] = {}
    for name, work in works.items():  # which warms up too
        with Operations() as operations_of:
            work()
        counted[name] = operations_of.count
    times: dict[str, list[float]] = {name: [] for name in works}
    products = []
    for _ in range(rounds):
        for name, work in works.items():
            products.append(seconds(product, device))
            times[name].append(seconds(work, device))
    costs = {name: Cost(statistics.median(taken), counted[name]) for name, taken in times.items()}
    return costs, operations / statistics.median(products)


def table(costs: Mapping[str, Cost], rate: float) -> str:
    """Rows of the phases, backward passes and lazy regularisers without what they come with."""
    rows = dict(costs)
    for network in "DG":
        rows[f"{network} backward"] = rows.pop(f"{network} forward, backward").without(rows[f"{network} forward"])
    lazy = rows.pop("D's step with what is lazy").without(rows["D's step"])
    if lazy.operations > 0:
        rows["R1, when it is due"] = lazy
    lines = ["| phase | GFLOP | CPU ms | GFLOP/s | share of the peak |", "|---|---|---|---|---|"]
    for name, cost in rows.items():
        reached = cost.operations / cost.seconds
        lines.append(
            f"| {name} | {cost.operations / 1e9:.2f} | {cost.seconds * 1e3:.0f} | {reached / 1e9:.1f} | {reached / rate:.0%} |"
        )
    return "\n".join(lines)


def config_of(spec: Path, batch_size: int) -> TrialConfig:
    """Of a sweep's example configurations, one whose feature loss looks at the most layers."""
    config = max(example_configs(load_spec(spec)), key=lambda config: len(config.feature_loss.layers))
    return config.model_copy(update={"batch_size": batch_size, "kimg": 1e6})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--batch", type=int, default=32, help="pictures in a batch")
    parser.add_argument("specs", nargs="*", default=list(SPECS), help=f"of {', '.join(SPECS)}; all when left out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in arguments.specs:
        config = config_of(SPECS[name], arguments.batch)
        apply_kernels(config.speed)
        trainer = GanTrainer(config, RandomPictures(config.resolution), device=device)
        costs, rate = measured(phases(trainer), arguments.rounds, device)
        print(f"\n{name}: {config.resolution} px, batch {arguments.batch}, threads: {arguments.threads}")
        print(f"peak: {rate / 1e9:.1f} GFLOP/s, of {_MATRIX} x {_MATRIX} float32 matrices\n\n{table(costs, rate)}", flush=True)


if __name__ == "__main__":
    main()
