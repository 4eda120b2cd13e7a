"""Peak memory of an FID evaluation from 5,000 and from 50,000 images on each side, at Inception's 2048 features.

    python -m tests.benchmarks.metrics_memory

Each size runs in a process of its own. A random projection stands in for the network, whose memory is not the question: what is
measured is how the statistics grow with the number of images. Real images are a memory-mapped file; its pages can be given back
at any time and are not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainables.collective import Collective
from trainables.metrics import Evaluator

DIM = 2048


class Projection(nn.Module):
    """8 x 8 pixels → 2048 random nonlinear features."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(DIM, 3, 8, 8, generator=draw) / 14)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"last": torch.tanh(torch.conv2d(images, self.weight))}


def anonymous_mb() -> float:
    """Memory that is not backed by a file, in MB (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def measure(count: int, folder: Path) -> dict[str, float]:
    path = folder / f"{count}.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 3, 8, 8))
    draw = np.random.default_rng(0)
    for start in range(0, count, 5000):
        images[start : start + 5000] = draw.integers(0, 256, (min(5000, count - start), 3, 8, 8), dtype=np.uint8)
    images.flush()
    mapped = np.load(path, mmap_mode="r")
    before, peak, done = anonymous_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous_mb())
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    evaluator = Evaluator(
        [f"fid[projection,8px,n={count}]"], mapped, str(count), load_backbone=lambda _: Projection(), cache_dir=folder,
        collective=Collective(), device=torch.device("cpu"), batch_size=256,
    )  # fmt: skip
    evaluator(lambda indices: torch.rand(len(indices), 3, 8, 8, generator=torch.Generator().manual_seed(int(indices[0]))) * 2 - 1)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return {"images": count, "peak_mb": round(peak - before, 1), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=int, help="measure one size in this process")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.one, Path(folder))))
        return
    print(f"{'images each side':>17}{'peak MB over start':>20}{'all features, MB':>18}{'seconds':>9}")
    for count in (5_000, 50_000):
        command = [sys.executable, __file__, "--one", str(count), "--threads", str(options.threads)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(f"{count:17,}{result['peak_mb']:20.0f}{2 * count * DIM * 4 / 2**20:18.0f}{result['seconds']:9.1f}")


if __name__ == "__main__":
    main()
