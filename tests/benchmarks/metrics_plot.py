"""Draws docs/metrics-n.png: how FID and KID depend on the number of images, on real pictures whose true distances are known.

    pip install matplotlib
    python -m tests.benchmarks.metrics_plot

About 4,000 twemoji are split in two at random. One half is the real set. The other half stands for generators: as it is (a
perfect one, whose true distance is 0) and with colours washed out (a slightly bad one). Every N is drawn several times, without
replacement: towards N = 2000 draws share most of their pictures and scatter less than independent ones would.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from tests.trainables.metrics.helpers import emoji
from trainables.backbones import BACKBONES, load_backbone
from trainables.metrics.distances import frechet_distance, kernel_distance
from trainables.metrics.features import Extractor, quantise
from trainables.metrics.statistics import Statistics
from trainables.metrics.uncertainty import frechet_infinity, frechet_standard_error

matplotlib.use("agg")
import matplotlib.pyplot as plt

COUNTS = (100, 200, 350, 500, 750, 1000, 1500, 2000)
SETS = {"other real pictures": "tab:blue", "the same, washed out": "tab:orange"}


def washed_out(images: Tensor, keep: float = 0.75) -> Tensor:
    """A share of the colour is replaced by the pixel's gray."""
    x = images.float() / 127.5 - 1
    return quantise(x * keep + x.mean(1, keepdim=True) * (1 - keep))


def draw_all(real: Statistics, features: dict[str, Tensor], draws: int) -> dict[str, dict[int, dict[str, list[float]]]]:
    """set → N → {"fid": values, "kid": values} over random draws."""
    generator = torch.Generator().manual_seed(0)
    results: dict[str, dict[int, dict[str, list[float]]]] = {}
    for name, rows in features.items():
        results[name] = {}
        for n in COUNTS:
            values: dict[str, list[float]] = {"fid": [], "kid": []}
            for _ in range(draws):
                part = rows[torch.randperm(len(rows), generator=generator)[:n]]
                values["fid"].append(frechet_distance(real, Statistics.of(part, keep=False)))
                values["kid"].append(kernel_distance(real.rows, part).value)
            results[name][n] = values
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/metrics-n.png"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu = torch.device("cpu")
    extractor = Extractor(
        "efficientnet_lite2", 64, "bilinear", load_backbone=lambda name: load_backbone(BACKBONES[name]), device=cpu
    )  # fmt: skip
    pictures = emoji(10_000)
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    first, second = pictures[order[: len(order) // 2]], pictures[order[len(order) // 2 :]]
    started = time.time()
    real, other, washed = (torch.cat([extractor(b) for b in x.split(64)]) for x in (first, second, washed_out(second)))
    print(f"embedded {len(real) + len(other) + len(washed)} images in {time.time() - started:.0f} s")
    statistics = Statistics.of(real)
    results = draw_all(statistics, dict(zip(SETS, (other, washed), strict=True)), options.draws)

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), dpi=100)
    for axis, kind in zip(axes, ("fid", "kid"), strict=True):
        for name, colour in SETS.items():
            values = [torch.tensor(results[name][n][kind]) for n in COUNTS]
            means, spreads = ([float(f(v)) for v in values] for f in (torch.mean, torch.std))
            axis.errorbar(COUNTS, means, yerr=spreads, color=colour, marker="o", capsize=3, label=name)
            print(kind, name, {n: f"{m:.4g}±{s:.2g}" for n, m, s in zip(COUNTS, means, spreads, strict=True)})
        axis.set(xscale="log", xlabel="N generated images", title=f"{kind.upper()} (efficientnet_lite2, 64px-bilinear)")
        axis.set_xticks(COUNTS, [str(n) for n in COUNTS], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[1].axhline(0, color="black", linewidth=0.8)
    for name, rows in zip(SETS, (other, washed), strict=True):
        whole = Statistics.of(rows[:2000])
        value = frechet_infinity(statistics, whole)
        axes[0].axhline(value, color=SETS[name], linestyle=":", label=f"extrapolated to infinite N: {value:.0f}")
        print(f"fid_infinity {name}: {value:.4g}; fid_se at 2000: {frechet_standard_error(statistics, whole):.3g}")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
