"""Whether restoring pictures by the shipped examples beats what is obvious: no network, and a plain U-Net trained on L1 alone.

    python -m examples.experiments.paired    (in the repository's root, where the examples are: `make experiments`)

Each task is run as examples/tasks/TASK.yaml says, at the learning rate given here, against a U-Net from scratch with the same
decoder, the same optimizer, the same budget and the better of two learning rates. PSNR on pictures that no run trained on,
degraded alike for all; of real photographs on native pixels, SSIM too. Writes its table into docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from examples.experiments.runs import (
    Result,
    Run,
    arguments,
    by_arm,
    carry_out_all,
    mean_and_spread,
    of_baseline,
    table,
    value,
    write_section,
)
from trainables.config import TrialConfig
from trainables.data import DataOptions

BASELINES = {
    "super_resolution": "bicubic",
    "denoising": "the noisy picture",
    "inpainting": "smooth fill",
    "colorization": "grey",
    "photographs": "the spoilt picture",
    "photographs_noisy": "the noisy picture",
    "photographs_enlarged": "bicubic",
}
PHOTOGRAPHS: dict[str, dict[str, Any]] = {
    "photographs_noisy": {"name": "denoising", "kind": "gaussian", "held_out": 0.3},
    "photographs_enlarged": {"name": "super_resolution", "scale": 2, "held_out": 0.3},
}
"""Other tasks on the pictures of photographs.yaml."""
_SHOWN = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 4)}
RATES = {"unet": (5e-4, 1e-3), "example": (1e-3,)}
UNET: dict[str, Any] = {
    "generator": {"name": "unet"},
    "feature_loss": {"layers": []},
    "reconstruction": {"name": "l1", "weight": 1},
}


def example(task: str) -> dict[str, Any]:
    """The shipped example of a task, as data, or its photographs for another task."""
    file = "photographs" if task in PHOTOGRAPHS else task
    found: dict[str, Any] = yaml.safe_load(Path("examples/tasks", f"{file}.yaml").read_text())
    return found | ({"task": PHOTOGRAPHS[task]} if task in PHOTOGRAPHS else {})


def config_of(task: str, kimg: float, seed: int, rate: float, changes: dict[str, Any]) -> TrialConfig:
    """The example's trial with these changes; G trains alone for the same share of the budget as there."""
    spec = example(task)
    trial: dict[str, Any] = spec["trial"] | {
        "pretrain_kimg": spec["trial"].get("pretrain_kimg", 0) / spec["budget"]["kimg"] * kimg
    }
    trial["optimizer"] = trial.get("optimizer", {}) | {"generator_lr": rate}
    trial["evaluation"] = trial["evaluation"] | {"every_kimg": kimg / 2}
    return TrialConfig(**trial | changes, task=spec["task"], resolution=spec["data"]["resolution"], kimg=kimg, seed=seed)


def runs_of(task: str, kimg: float, seeds: int) -> list[Run]:
    """The example, the same with D from the start, and the U-Net, in which D never acts: G's pre-training is all there is."""
    data = DataOptions(**example(task)["data"])
    arms = {
        "plain U-Net, L1": (UNET | {"pretrain_kimg": kimg}, RATES["unet"]),
        "the example": ({}, RATES["example"]),
        "the example, D from the start": ({"pretrain_kimg": 0}, RATES["example"]),
    }
    return [
        Run(data_name=task, arm=f"{arm}, {rate:g}", config=config_of(task, kimg, seed, rate, changes), data=data)
        for seed in range(seeds)
        for arm, (changes, rates) in arms.items()
        for rate in rates
    ]


def summary(task: str, results: list[Result], baseline: dict[str, float]) -> str:
    """A row for each method: the best of its learning rates by the mean over seeds."""
    best: dict[str, tuple[str, list[Result]]] = {}
    for arm, found in by_arm(results):
        method, _, rate = arm.rpartition(", ")
        if method not in best or mean(found) > mean(best[method][1]):
            best[method] = (rate, found)
    rows = [(f"{task}: {method}, learning rate {rate}", found) for method, (rate, found) in best.items()]
    columns = {}
    for name, of_none in baseline.items():
        kind, (shown, digits) = name.partition("[")[0], _SHOWN[name.partition("[")[0]]

        def of(found: Sequence[Result], kind: str = kind, digits: int = digits) -> str:
            return mean_and_spread([value(r, kind) for r in found], digits)

        columns[f"{shown} ({BASELINES[task]}: {of_none:.{digits}f})"] = of
    return table(rows, columns)


def mean(results: list[Result]) -> float:
    """Mean PSNR at the end."""
    return sum(value(r, "psnr") for r in results) / len(results)


def main() -> None:
    parser = arguments(__doc__, kimg=2)
    parser.add_argument("--tasks", nargs="+", choices=BASELINES, default=list(BASELINES))
    args = parser.parse_args()
    runs = {task: runs_of(task, args.kimg, args.seeds) for task in args.tasks}
    every = sorted((run for found in runs.values() for run in found), key=lambda run: run.config.seed)
    carry_out_all(every, args.folder, args.processes)
    texts = []
    for task, found in runs.items():
        baseline = of_baseline(found[0].config, found[0].data, args.folder)
        texts.append(summary(task, carry_out_all(found, args.folder, 0), baseline))
    write_section(args.page, "paired", f"{args.kimg:g} kimg:\n\n" + "\n\n".join(texts))


if __name__ == "__main__":
    main()
