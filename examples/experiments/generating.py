"""What the experiments in making pictures from noise have in common: two data sets, a judge, and their tables.

The data sets are the emoji of the demo's category and handwritten digits. The judge is FID in the features of a network that no
arm trains with, from the same evaluation noise; beside it stand diversity, the distance between samples relative to that between
real pictures, and the share of samples that are copies of training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from examples.experiments.pictures import write_digits
from examples.experiments.runs import Result, Run, by_arm, mean_and_spread, table, value
from trainables.config import TrialConfig
from trainables.data import DataOptions

EMOJI = "examples/twemoji/images/smileys"
RESOLUTION = 32
METRIC = "fid[efficientnet_lite2,64px,n=500]"
COPIED = METRIC.replace("fid", "copied")
FEATURES = {"layers": ["blocks.1", "blocks.2", "blocks.4"], "input_px": 64}

Settings = dict[str, Any]
"""Fields of a `TrialConfig`."""


def data_sets(folder: Path) -> dict[str, DataOptions]:
    """By name; the digits are written into ``folder`` where they are not there yet."""
    return {
        "emoji": DataOptions(path=EMOJI, resolution=RESOLUTION),
        "digits": DataOptions(path=str(write_digits(folder / "digits")), resolution=RESOLUTION),
    }


def runs_of(
    data: dict[str, DataOptions], common: Settings, arms: dict[str, dict[str, Settings]], kimg: float, seeds: int
) -> list[Run]:
    """A run for each arm and seed, judged after half of its images and at the end; a seed's runs are a whole comparison.

    Args:
        common: the settings of every arm.
        arms: by the name of the data set and their own, the settings of each beyond those.
    """
    evaluation = {"metric": METRIC, "also": [COPIED], "every_kimg": kimg / 2}
    fixed = {"resolution": RESOLUTION, "kimg": kimg, "evaluation": evaluation}
    return [
        Run(data_name=name, arm=arm, data=data[name], config=TrialConfig(**{**common, **settings, **fixed, "seed": seed}))
        for seed in range(seeds)
        for name, chosen in arms.items()
        for arm, settings in chosen.items()
    ]


def summary(results: Sequence[Result], baseline: str | None = None) -> str:
    """The table of one data set.

    Args:
        baseline: an arm with which the others are compared seed by seed.
    """
    columns: dict[str, Callable[[Sequence[Result]], str]] = {
        "FID": lambda found: mean_and_spread([value(r, "fid") for r in found], 0),
        "FID at half the budget": lambda found: mean_and_spread([value(r, "fid", 0) for r in found], 0),
        "diversity": lambda found: mean_and_spread([value(r, "diversity") for r in found], 2),
        "copied": lambda found: mean_and_spread([value(r, "copied") for r in found], 2),
    }
    if baseline is not None:
        others = {result["seed"]: value(result, "fid") for result in results if result["arm"] == baseline}
        columns[f"lower than *{baseline}*"] = lambda found: "" if found[0]["arm"] == baseline else _lower(found, others)
    return table(by_arm(results), columns)


def _lower(found: Sequence[Result], others: dict[int, float]) -> str:
    """With how many seeds FID at the end is lower than that of another arm, by seed."""
    pairs = [(value(result, "fid"), others[result["seed"]]) for result in found if result["seed"] in others]
    return f"{sum(own < other for own, other in pairs)} of {len(pairs)}"


def summaries(results: Sequence[Result], kimg: float, baseline: str | None = None) -> str:
    """A table for each data set."""
    names = dict.fromkeys(result["data_name"] for result in results)
    of_each = {name: summary([r for r in results if r["data_name"] == name], baseline) for name in names}
    return "\n".join(f"**{name}**, {kimg:g} kimg:\n\n{text}\n" for name, text in of_each.items())
