"""What pretraining brings to a GAN of few pictures: the same budget from scratch, and with one more pretrained thing at a time.

    python -m examples.experiments.pretraining    (in the repository's root, where the pictures are: `make experiments`)

Two data sets, three seeds, the same number of pictures shown to D for every arm. Judged by FID in the features of a network that
no arm trains with, from the same evaluation noise, and by diversity: the distance between samples relative to that between real
pictures. Writes its tables into docs/experiments.md.
"""

from __future__ import annotations

from typing import Any

from examples.experiments.pictures import write_digits
from examples.experiments.runs import (
    Result,
    Run,
    arguments,
    by_arm,
    carry_out_all,
    mean_and_spread,
    table,
    value,
    write_section,
)
from trainables.config import TrialConfig
from trainables.data import DataOptions

EMOJI = "examples/twemoji/images/smileys"
SOURCE = "examples/twemoji/source_32px.safetensors"
COMMON: dict[str, Any] = {
    "resolution": 32,
    "batch_size": 8,
    "adversarial": "hinge",
    "augment": ["translation", "cutout"],
    "optimizer": {"generator_lr": 5e-4, "discriminator_lr": 5e-4},
    "ema": {"halflife_kimg": 0.5},
}
METRIC = "fid[efficientnet_lite2,64px,n=500]"
COPIED = METRIC.replace("fid", "copied")
TRUNK = {"name": "trunk", "scales": 4, "input_px": 64}
FROZEN = {"discriminator": TRUNK | {"frozen_depth": 5}}
FEATURES = {"layers": ["blocks.1", "blocks.2", "blocks.4"], "input_px": 64}


def arms(data_name: str) -> dict[str, dict[str, Any]]:
    """The settings of each arm beyond `COMMON`, by its name."""
    found: dict[str, dict[str, Any]] = {
        "from scratch (PatchGAN)": {"discriminator": {"name": "patch"}},
        "pretrained D": {"discriminator": TRUNK | {"frozen_depth": 0}},
        "+ frozen": FROZEN,
        "+ feature loss": FROZEN | {"feature_loss": FEATURES},
    }
    if data_name == "emoji":  # what the source was trained on is no source of digits
        found["+ source checkpoint"] = FROZEN | {"feature_loss": FEATURES, "source": SOURCE}
        found["+ source checkpoint, without feature loss"] = FROZEN | {"source": SOURCE}
    return found


def feature_arms() -> dict[str, dict[str, Any]]:
    """How the feature loss depends on its weight, its layers and its form, one at a time."""
    varied: dict[str, dict[str, Any]] = {
        **{f"λ = {weight:g}": {"weight": weight} for weight in (0.1, 1.0, 10.0)},
        "λ = 1, shallow: blocks.1": {"layers": ["blocks.1"]},
        "λ = 1, deep: blocks.4": {"layers": ["blocks.4"]},
        "λ = 1, covariance": {"form": "covariance"},
        "λ = 1, nearest": {"form": "nearest"},
    }
    return {"none": FROZEN} | {name: FROZEN | {"feature_loss": FEATURES | options} for name, options in varied.items()}


def runs_of(data_name: str, data: DataOptions, chosen: dict[str, dict[str, Any]], kimg: float, seeds: int) -> list[Run]:
    """A run for each arm and seed."""
    evaluation = {"metric": METRIC, "also": [COPIED], "every_kimg": kimg / 2}
    return [
        Run(
            data_name=data_name,
            arm=arm,
            data=data,
            config=TrialConfig(**{**COMMON, **settings, "kimg": kimg, "seed": seed, "evaluation": evaluation}),
        )
        for seed in range(seeds)
        for arm, settings in chosen.items()
    ]


def summary(results: list[Result]) -> str:
    """The table of one data set."""
    return table(
        by_arm(results),
        {
            "FID": lambda found: mean_and_spread([value(r, "fid") for r in found], 0),
            "FID at half the budget": lambda found: mean_and_spread([value(r, "fid", 0) for r in found], 0),
            "diversity": lambda found: mean_and_spread([value(r, "diversity") for r in found], 2),
            "copied": lambda found: mean_and_spread([value(r, "copied") for r in found], 2),
        },
    )


def main() -> None:
    parser = arguments(__doc__, kimg=1.6)
    parser.add_argument("--skip-feature-study", action="store_true", help="only the main comparison")
    args = parser.parse_args()
    data = {
        "emoji": DataOptions(path=EMOJI, resolution=32),
        "digits": DataOptions(path=str(write_digits(args.folder / "digits")), resolution=32),
    }
    runs = [run for name, options in data.items() for run in runs_of(name, options, arms(name), args.kimg, args.seeds)]
    runs.sort(key=lambda run: run.config.seed)  # so that what an interrupted experiment has is whole comparisons
    results = carry_out_all(runs, args.folder, args.processes)
    text = [f"**{name}**, {args.kimg:g} kimg:\n\n{summary([r for r in results if r['data_name'] == name])}\n" for name in data]
    write_section(args.page, "pretraining", "\n".join(text))
    if not args.skip_feature_study:
        study = carry_out_all(
            runs_of("emoji", data["emoji"], feature_arms(), args.kimg, args.seeds),
            args.folder,
            args.processes,
        )
        write_section(args.page, "feature loss", summary(study))


if __name__ == "__main__":
    main()
