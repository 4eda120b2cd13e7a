"""Hundreds of short trials through two warm groups: nothing may grow with the number of trials that have passed.

    python -m tests.benchmarks.soak [--trials 300] [--plot docs/soak.png]

Prints, for driver, Tune actors and workers, memory and open files after the first tenth of the trials and at the end, and their
number. The plot needs the extra ``docs``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.session import connect
from tests.tuner.sweeps import HALVING, silent, small_spec
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.engine.sweep import run_sweep

_EVERY_S = 2.0
KINDS = {
    "Tune actors": ("ray::ResourceTrainable", "ray::GroupTrial"),
    "workers": ("RayTrainWorker",),
    "mailboxes": ("ray::MailboxState",),
}
Sample = tuple[int, float, int, int]  # trials that have begun, MiB, open files, processes


class Watch(threading.Thread):
    """Looks at the driver and its Ray's processes every two seconds."""

    def __init__(self, trials: Path) -> None:
        super().__init__(daemon=True)
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._trials, self._done = trials, threading.Event()

    def run(self) -> None:
        driver = psutil.Process(os.getpid())
        while not self._done.wait(_EVERY_S):
            begun = sum(1 for _ in self._trials.iterdir()) if self._trials.exists() else 0
            found: dict[str, list[psutil.Process]] = {"driver": [driver]}
            for process in driver.children(recursive=True):
                with suppress(psutil.Error):
                    title = " ".join(process.cmdline())
                    for kind, names in KINDS.items():
                        if any(name in title for name in names):
                            found.setdefault(kind, []).append(process)
            for kind, processes in found.items():
                with suppress(psutil.Error):
                    # What a process has for itself: the pages of shared libraries are counted once for each of their users.
                    memory = sum(process.memory_full_info().uss for process in processes) / 2**20
                    files = sum(process.num_fds() for process in processes)
                    self.samples[kind].append((begun, memory / len(processes), files // len(processes), len(processes)))

    def end(self) -> None:
        """Stops looking."""
        self._done.set()
        self.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=2, env_vars=TRAIN_ENVIRONMENT):
        spec = small_spec(Path(folder), budget__trials=chosen.trials, budget__kimg=0.048, resources__workers=1, scheduler=HALVING)
        watch = Watch(spec.root / "trials")
        watch.start()
        started = time.monotonic()
        records = run_sweep(spec, silent).records
        took = time.monotonic() - started
        watch.end()
    print(f"{len(records)} trials in {took:.0f} s, {3600 * len(records) / took:.0f} an hour; {dict(records.counts)}")
    print(f"{'':<12} {'processes':>9} {'MiB after 1/10':>15} {'MiB at the end':>15} {'files after 1/10':>17} {'at the end':>11}")
    for kind, samples in watch.samples.items():
        first = next(sample for sample in samples if sample[0] >= chosen.trials / 10)
        last = samples[-2] if len(samples) > 1 else samples[-1]
        most = max(sample[3] for sample in samples)
        print(f"{kind:<12} {most:>9} {first[1]:>15.0f} {last[1]:>15.0f} {first[2]:>17} {last[2]:>11}")
    if chosen.plot:
        plot(watch.samples, chosen.plot)


def plot(samples: dict[str, list[Sample]], file: Path) -> None:
    """Memory and open files of one process of each kind over the trials that have begun."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, place, title in ((axes[0], 1, "memory of its own, MiB"), (axes[1], 2, "open files")):
        for kind, rows in samples.items():
            axis.plot([row[0] for row in rows], [row[place] for row in rows], label=kind)
        axis.set(xlabel="trials begun", title=title, ylim=(0, None))
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
