"""The Fréchet distance against torch-fidelity, torchmetrics and pytorch-fid's method: time and error, side by side.

    python -m tests.benchmarks.metrics_distance [--runs 5] [--threads 2] [--dim 2048]

Methods take turns within each run, so that whatever else the machine does hits all alike; medians are printed. Timed is what
lies between each library's own statistics and the value (``distance``), and everything from the features on (``total``), by wall
clock and by CPU time; where the machine does other things as well, CPU time with ``--threads 1`` is the one to read.

Two errors are printed, both relative to Tr C1 + Tr C2:
- ``error``, against the singular values of QR factors of the features, which never squares a condition number. This reference
  is itself checked in the same run against 60 decimal digits (mpmath) at 12 dimensions.
- ``closed form``: the value for y = 2x + 1, where the distance is Tr C + D exactly.
"""

from __future__ import annotations

import argparse
import statistics as medians
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import _compute_fid

from trainables.metrics.distances import frechet_distance
from trainables.metrics.statistics import Statistics

Method = tuple[Callable[[Tensor], Any], Callable[[Any, Any], float]]  # features → statistics; two of them → value


def torchmetrics_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    return x.mean(0), torch.cov(x.T)


def pytorch_fid_statistics(x: Tensor) -> tuple[Any, Any]:
    values = x.numpy()
    return np.mean(values, axis=0), np.cov(values, rowvar=False)


def pytorch_fid_distance(a: tuple[Any, Any], b: tuple[Any, Any]) -> float:
    """The published method: a matrix square root, with 1e-6 added to both diagonals where that is not finite."""
    difference = a[0] - b[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(a[1].dot(b[1]))
        if not np.isfinite(root).all():
            offset = np.eye(len(a[1])) * 1e-6
            root = scipy.linalg.sqrtm((a[1] + offset).dot(b[1] + offset))
    return float(difference.dot(difference) + np.trace(a[1]) + np.trace(b[1]) - 2 * np.trace(root.real))


METHODS: dict[str, Method] = {
    "gansweep": (lambda x: Statistics.of(x, keep=False), frechet_distance),
    "torch-fidelity": (
        fid_features_to_statistics,
        lambda a, b: fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"],
    ),
    "torchmetrics": (torchmetrics_statistics, lambda a, b: float(_compute_fid(*a, *b))),
    "pytorch-fid": (pytorch_fid_statistics, pytorch_fid_distance),
}


def features(count: int, dim: int, seed: int) -> Tensor:
    """Like Inception's: positive means, a steeply falling spectrum, float32 [count, dim]; the axes are shared by all seeds."""
    axes = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    draw = torch.Generator().manual_seed(seed)
    spectrum = torch.arange(1, dim + 1, dtype=torch.float64).pow(-0.75) * (1 + 0.2 * torch.rand(dim, generator=draw))
    return ((torch.randn(count, dim, generator=draw, dtype=torch.float64) * spectrum) @ axes.T + 0.4).float()


def by_factors(x: Tensor, y: Tensor) -> float:
    """The reference: nuclear norm of the product of QR factors of the centred features."""
    x, y = x.double(), y.double()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    a, b = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x, y))
    r, s = (torch.linalg.qr(z, mode="r").R for z in (a, b))
    return float(shift + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(r @ s.T).sum())


def by_60_digits(x: Tensor, y: Tensor) -> float:
    """The definition in 60 decimal digits."""
    mpmath.mp.dps = 60
    moments = []
    for z in (x, y):
        m = mpmath.matrix(z.double().tolist())
        count = m.rows
        mean = [mpmath.fsum(m[i, j] for i in range(count)) / count for j in range(m.cols)]
        centred = mpmath.matrix(count, m.cols)
        for i in range(count):
            for j in range(m.cols):
                centred[i, j] = m[i, j] - mean[j]
        moments.append((mean, centred.T * centred / (count - 1)))
    (mean_x, cov_x), (mean_y, cov_y) = moments
    root = mpmath.cholesky(cov_x)
    eigenvalues = mpmath.eigsy(root.T * cov_y * root, eigvals_only=True)
    shift = mpmath.fsum((a - b) ** 2 for a, b in zip(mean_x, mean_y, strict=True))
    traces = mpmath.fsum(cov_x[i, i] + cov_y[i, i] for i in range(cov_x.rows))
    return float(shift + traces - 2 * mpmath.fsum(mpmath.sqrt(abs(e)) for e in eigenvalues))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--counts", type=int, nargs="+", default=[5000, 500])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    small = features(40, 12, 1), features(40, 12, 2)
    exact = by_60_digits(*small)
    print(f"reference against 60 digits at 12 dimensions: relative difference {abs(by_factors(*small) / exact - 1):.1e}\n")
    for count in options.counts:
        x, y = features(count, options.dim, 1), features(count, options.dim, 2)
        # Scaled so that 2x + 1 has no rounding in float32.
        base = (x * 256).round() / 256
        closed = float(base.double().var(0).sum() + (base.double().mean(0) + 1).square().sum())
        scale = float(x.double().var(0).sum() + y.double().var(0).sum())
        reference = by_factors(x, y)
        spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
        errors: dict[str, tuple[float, float]] = {}
        for run in range(options.runs):
            for name, (to_statistics, to_value) in METHODS.items():
                begun, started = time.perf_counter(), time.process_time()
                a, b = to_statistics(x), to_statistics(y)
                ready, ready_wall = time.process_time(), time.perf_counter()
                value = to_value(a, b)
                ended, ended_wall = time.process_time(), time.perf_counter()
                spent[name].append((ended_wall - ready_wall, ended - ready, ended_wall - begun, ended - started))
                if run == 0:
                    known = to_value(to_statistics(base), to_statistics(2 * base + 1))
                    errors[name] = abs(value - reference) / scale, abs(known - closed) / (5 * scale / 2)
                print(f"{name}: run {run}, {spent[name][-1][2]:.2f} s", file=sys.stderr, flush=True)
        print(f"N = {count}, D = {options.dim}, {options.threads} threads, median of {options.runs} (value {reference:.6g})")
        columns = "".join(f"{title:>15}{'ratio':>8}" for title in ("distance wall", "distance CPU", "total wall", "total CPU"))
        print(f"{'':16}{columns}{'error':>10}{'closed form':>13}")
        middle = {name: [medians.median(column) for column in zip(*rows, strict=True)] for name, rows in spent.items()}
        for name, row in middle.items():
            cells = "".join(f"{t:13.3f} s{t / ours:7.1f}x" for t, ours in zip(row, middle["gansweep"], strict=True))
            print(f"{name:16}{cells}{errors[name][0]:10.1e}{errors[name][1]:13.1e}", flush=True)
        print()


if __name__ == "__main__":
    main()
