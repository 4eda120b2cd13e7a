"""What pretraining brings to a GAN of few pictures: the same budget from scratch, and with one more pretrained thing at a time.

    python -m examples.experiments.pretraining    (in the repository's root, where the pictures are: `make experiments`)

Two data sets, three seeds, the same number of pictures shown to D for every arm, judged as `generating` says. Writes its tables
into docs/experiments.md.
"""

from __future__ import annotations

from examples.experiments.generating import FEATURES, Settings, data_sets, runs_of, summaries, summary
from examples.experiments.runs import arguments, carry_out_all, write_section

SOURCE = "examples/twemoji/source_32px.safetensors"
COMMON: Settings = {
    "batch_size": 8,
    "adversarial": "hinge",
    "augment": ["translation", "cutout"],
    "optimizer": {"generator_lr": 5e-4, "discriminator_lr": 5e-4},
    "ema": {"halflife_kimg": 0.5},
}
TRUNK = {"name": "trunk", "scales": 4, "input_px": 64}
FROZEN = {"discriminator": TRUNK | {"frozen_depth": 5}}


def arms(data_name: str) -> dict[str, Settings]:
    """The settings of each arm beyond `COMMON`, by its name."""
    found: dict[str, Settings] = {
        "from scratch (PatchGAN)": {"discriminator": {"name": "patch"}},
        "pretrained D": {"discriminator": TRUNK | {"frozen_depth": 0}},
        "+ frozen": FROZEN,
        "+ feature loss": FROZEN | {"feature_loss": FEATURES},
    }
    if data_name == "emoji":  # what the source was trained on is no source of digits
        found["+ source checkpoint"] = FROZEN | {"feature_loss": FEATURES, "source": SOURCE}
        found["+ source checkpoint, without feature loss"] = FROZEN | {"source": SOURCE}
    return found


def feature_arms() -> dict[str, Settings]:
    """How the feature loss depends on its weight, its layers and its form, one at a time."""
    varied: dict[str, Settings] = {
        **{f"λ = {weight:g}": {"weight": weight} for weight in (0.1, 1.0, 10.0)},
        "λ = 1, shallow: blocks.1": {"layers": ["blocks.1"]},
        "λ = 1, deep: blocks.4": {"layers": ["blocks.4"]},
        "λ = 1, covariance": {"form": "covariance"},
        "λ = 1, nearest": {"form": "nearest"},
    }
    return {"none": FROZEN} | {name: FROZEN | {"feature_loss": FEATURES | options} for name, options in varied.items()}


def main() -> None:
    parser = arguments(__doc__, kimg=1.6)
    parser.add_argument("--skip-feature-study", action="store_true", help="only the main comparison")
    args = parser.parse_args()
    data = data_sets(args.folder)
    runs = runs_of(data, COMMON, {name: arms(name) for name in data}, args.kimg, args.seeds)
    results = carry_out_all(runs, args.folder, args.processes)
    write_section(args.page, "pretraining", summaries(results, args.kimg))
    if not args.skip_feature_study:
        study = runs_of(data, COMMON, {"emoji": feature_arms()}, args.kimg, args.seeds)
        write_section(args.page, "feature loss", summary(carry_out_all(study, args.folder, args.processes)))


if __name__ == "__main__":
    main()
