"""What the papers on fine-tuning a StyleGAN2 chose by hand, one choice at a time against full fine-tuning.

    python -m examples.experiments.stylegan2    (in the repository's root, where pictures and source are: `make experiments`)

The shipped source, trained on all emoji but the target's, is fine-tuned on a near data set and a far one with three seeds; every
arm sees as many real pictures, and is judged as `generating` says. Writes its tables into docs/experiments.md.

96 runs of 8 kimg: about 2 h 45 min on two cores. Of 16 steps of each arm (2026-11-25, other programs running beside) follow these
minutes of one core for a run, its two evaluations (0.1) included: FreezeD 2.5, projected D 2.6, style layers 3.0, scale and shift
3.0, LoRA 3.1, from scratch 3.2, frozen mapping, kernel modulation and MineGAN 3.3, full fine-tuning 3.4, no augmentation 3.6, ADA
and moments 3.9, covariance 4.1, vision-aided 4.4.
"""

from __future__ import annotations

from pathlib import Path

from examples.experiments.generating import FEATURES, Settings, data_sets, runs_of, summaries
from examples.experiments.runs import arguments, carry_out_all, write_section
from trainables.source import architecture_of

SOURCE = "examples/stylegan2/source_32px.safetensors"
COMMON: Settings = {
    "batch_size": 8,
    "adversarial": "non_saturating",
    "regularisers": [{"name": "r1"}],
    "augment": ["translation", "cutout"],
    "optimizer": {"generator_lr": 1e-3, "discriminator_lr": 1e-3},  # StyleGAN2-ADA: 2.5e-3, in batches of 32 and more
    "ema": {"halflife_kimg": 0.5},
}
BASELINE = "full fine-tuning"
PROJECTED = {"name": "projected", "input_px": 64}


def arms(source: str, kimg: float) -> dict[str, Settings]:
    """The settings of each arm beyond `COMMON`, by its name: what of G and of D is trained, what D is and what it is shown."""
    changes: dict[str, Settings] = {
        BASELINE: {},
        "FreezeD, 2 blocks": {"discriminator": {"frozen_depth": 2}},
        "FreezeD, 3 blocks": {"discriminator": {"frozen_depth": 3}},
        "frozen mapping": {"generator": {"frozen": {"mapping": True}}},
        "style layers": {"generator": {"adapt": "affine"}},
        "scale and shift": {"generator": {"adapt": "scale_shift"}},
        "LoRA": {"generator": {"adapt": "lora"}},
        "kernel modulation": {"generator": {"adapt": "kernel_modulation"}},
        "MineGAN": {"generator": {"miner_layers": 2, "miner_alone_kimg": kimg / 4}},
        # In half of the run p could rise to 1; at the speed of ADA's code, in 100 kimg, it would hardly leave 0.
        "ADA": {"augment": "bgc", "adaptive": {"ramp_kimg": kimg / 2}},
        "no augmentation": {"augment": []},
        "projected D": {"discriminator": PROJECTED, "regularisers": []},  # Projected GAN has no R1
        "vision-aided": {"discriminator": {"name": "ensemble", "members": [{"name": "stylegan2"}, PROJECTED]}},
    }
    return {arm: {"source": source, **settings} for arm, settings in changes.items()} | {"from scratch": same_networks(source)}


def feature_arms(source: str) -> dict[str, Settings]:
    """Full fine-tuning with the feature loss in two of its forms; the source's own D looks at no pretrained network."""
    forms = {form: {"feature_loss": FEATURES | {"form": form}} for form in ("moments", "covariance")}
    return {arm: {"source": source, **settings} for arm, settings in ({"none": {}} | forms).items()}


def same_networks(source: str) -> Settings:
    """The source's networks without what they have learnt."""
    held = architecture_of(source)
    return {"generator": held.generator, "discriminator": held.discriminator}


def main() -> None:
    parser = arguments(__doc__, kimg=8)
    args = parser.parse_args()
    if not Path(SOURCE).is_file():
        raise SystemExit(f"the source {SOURCE} is not there; `make stylegan2-source` trains it")
    data = data_sets(args.folder)
    main_arms, forms = (dict.fromkeys(data, chosen) for chosen in (arms(SOURCE, args.kimg), feature_arms(SOURCE)))
    runs, study = (runs_of(data, COMMON, chosen, args.kimg, args.seeds) for chosen in (main_arms, forms))
    carry_out_all(sorted([*runs, *study], key=lambda run: run.config.seed), args.folder, args.processes)
    for name, section, baseline in (("stylegan2", runs, BASELINE), ("stylegan2 feature loss", study, "none")):
        results = carry_out_all(section, args.folder, processes=0)
        write_section(args.page, name, summaries(results, args.kimg, baseline))


if __name__ == "__main__":
    main()
