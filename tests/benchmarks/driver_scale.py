"""What a report costs the driver, and how long a worker group waits for its verdict, up to 1,000 groups and 10,000 trials.

The real searcher, scheduler, records, publisher and display, called in the order in which Tune calls them; only the groups are a
stand-in, which report a made-up curve. The time between a verdict and a group's next report is simulated, as on GPUs; what the
driver does is measured: the clock goes on by it, and reports that come meanwhile wait. Tune's own part is left out.

TPE takes longer to propose a trial the more there are. So beyond 100 trials most are drawn at random, and what a proposal by TPE
takes, measured at every hundredth trial, is printed apart.

Run: python -m tests.benchmarks.driver_scale [--quick] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import heapq
import io
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from PIL import Image
from ray.tune.schedulers import TrialScheduler
from ray.tune.utils import flatten_dict
from rich.console import Console

from trainables.checkpoint import preview_name
from tuner.engine import proposals as searching
from tuner.engine.callbacks import SweepCallback
from tuner.engine.failures import Failures
from tuner.engine.journal import SweepJournal
from tuner.engine.patience import Patience
from tuner.engine.report import Report
from tuner.engine.scheduler import Surroundings, SweepScheduler
from tuner.engine.searcher import OptunaSearcher, open_study
from tuner.records.paths import SweepPaths
from tuner.records.progress import Progress
from tuner.records.trials import RecordBook
from tuner.schedulers import SCHEDULERS
from tuner.spec import load_spec

SPEC = Path(__file__).resolve().parents[2] / "examples" / "twemoji" / "sweep.yaml"
REPORTS = 20
KIMG = 0.4  # between two reports
INTERVAL_S = 20.0  # between a verdict and the group's next report, half to one and a half of it
FULL = [(10, 100), (100, 100), (10, 1000), (100, 1000), (1000, 1000), (1000, 10000)]
QUICK = [(10, 100), (100, 1000)]


@dataclass
class Measured:
    """One run."""

    groups: int
    trials: int
    reports: int
    thread_ms: float  # CPU of the driver's thread for one report
    all_ms: float  # of all threads of the driver, that of proposals left out
    delay_ms: tuple[float, float, float]  # report to verdict: median, 99 %, longest
    propose_ms: tuple[float, float]  # CPU of a proposal: at random, by TPE at the end of the sweep
    mib: float  # that the driver's memory grew by
    mib_on_disk: float


class Starving:
    """No group waits for room."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Proposals:
    """Stands in for `searching.sampler`: TPE for the first trials and then for every hundredth."""

    def __init__(self, trials: int) -> None:
        self.all_by_tpe, self.tpe = trials <= 100, searching.sampler
        self.last_is_tpe = False

    def __call__(self, seed: int, number: int) -> optuna.samplers.BaseSampler:
        self.last_is_tpe = self.all_by_tpe or number % 100 == 99
        return self.tpe(seed, number) if self.last_is_tpe else optuna.samplers.RandomSampler(number)


class Sweep:
    """The driver's parts, put together as `run_sweep` does, over ``folder``."""

    def __init__(self, folder: Path, trials: int, rule: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kimg = REPORTS * KIMG
        spec = load_spec(SPEC, [f"budget.trials={trials}", f"budget.kimg={kimg}", f"storage={folder}"])
        self.paths, self.metric = SweepPaths(spec.root), spec.metric
        self.names = [str(spec.metric), "kid[efficientnet_lite2,64px,n=250]"]
        self.records = RecordBook(self.paths.trials)
        self.terminal = open(os.devnull, "w")  # noqa: SIM115
        self.progress = Progress(
            Console(file=self.terminal, force_terminal=True, width=140), self.records, trials, None, self.metric
        )
        patience = Patience(self.progress.waiting, lambda: None)
        self.study = open_study(JournalStorage(SweepJournal(self.paths.folder / self.paths.JOURNAL, patience)))
        failures = Failures(self.paths, self.records, patience, retries=3, breaker=5, can_do_without=lambda ids: True)
        self.searcher = OptunaSearcher(self.study, spec.search_space(), spec.base, trials, spec.seed, self.records)
        self.callback = SweepCallback(self.paths, self.records, self.metric, self.progress, Starving())  # type: ignore[arg-type]
        options = SCHEDULERS[rule].Options(**({"grace_kimg": KIMG} if rule == "successive_halving" else {}))
        surroundings = Surroundings(
            paths=self.paths,
            records=self.records,
            patience=patience,
            failures=failures,
            reported=self.callback.reported,
            exhausted=lambda: self.searcher.exhausted,
        )
        self.scheduler = SweepScheduler(SCHEDULERS[rule](options, kimg, self.metric), surroundings, None, 0)

    def start(self, name: str) -> SimpleNamespace | None:
        """A Tune trial with a proposal; None when there are no more."""
        config = self.searcher.suggest(name)
        if not isinstance(config, dict):
            return None
        trial = SimpleNamespace(trial_id=name, config=config, temporary_state=SimpleNamespace(ray_actor=None), steps=0)
        self.callback.on_trial_start(0, [], trial)
        return trial

    def take(self, trial: SimpleNamespace, report: dict[str, Any]) -> bool:
        """A report comes up, as `GroupTrial.step` hands it to Tune; whether the trial goes on."""
        result = {key: report[key] for key in ("number", "kimg", "score_best")} | {"report": Report(report), "nodes": ["node"]}
        flat = flatten_dict(result)
        decision = self.scheduler.on_trial_result(None, trial, flat)
        if decision != TrialScheduler.STOP:
            self.searcher.on_trial_result(trial.trial_id, flat)
        self.callback.on_trial_result(0, [], trial, result)
        if decision == TrialScheduler.STOP:
            self.searcher.on_trial_complete(trial.trial_id, result=flat)
            self.callback.on_trial_complete(0, [], trial)
        self.callback.on_step_end(0, [])
        return bool(decision != TrialScheduler.STOP)


def curve(names: list[str], trial: SimpleNamespace, best: dict[int, float]) -> dict[str, Any]:
    """A trial's next report, as a worker sends it."""
    trial.steps += 1
    number, done = trial.config["number"], trial.steps / REPORTS
    level = random.Random(number).uniform(50, 150)
    value = level * (1 + math.exp(-5 * done)) + random.Random(number * 1000 + trial.steps).gauss(0, 2)
    best[number] = min(value, best.get(number, math.inf))
    losses = ("d_loss", "g_loss", "d_accuracy", "feature_loss", "d_real", "d_fake", "g_adversarial", "augment_p")
    return {
        "number": number,
        "step": trial.steps * 12,
        "kimg": trial.steps * KIMG,
        "score": value,
        "score_best": best[number],
        "metrics": dict(zip(names, (value, value / 1000), strict=True)),
        "losses": {name: random.random() for name in losses},
        "intervals": [[0.7, 1.0], [0.7, 1.0]],
        "problem": None,
        "last": trial.steps == REPORTS,
        "resumed": False,
        "seconds_training": INTERVAL_S,
        "seconds_evaluating": 1.0,
        "seconds_to_first_step": 0.3,
    }


class Clock:
    """The driver's time: it goes on by what the driver does, and jumps to the next report when there is nothing to do."""

    def __init__(self) -> None:
        self.now = 0.0

    def measure(self, action: Any, *arguments: Any) -> tuple[Any, float]:
        """What ``action`` returns, and the CPU seconds of this thread that it took."""
        began, cpu = time.perf_counter(), time.thread_time()
        result = action(*arguments)
        cpu = time.thread_time() - cpu
        self.now += time.perf_counter() - began
        return result, cpu


def drive(folder: Path, groups: int, trials: int, rule: str) -> Measured:
    """One sweep of ``trials`` trials over ``groups`` groups."""
    searching.sampler = proposals = Proposals(trials)
    sweep, clock, dice = Sweep(folder, trials, rule), Clock(), random.Random(0)
    preview = folder / "preview.png"
    buffer = io.BytesIO()
    Image.effect_noise((64, 32), 50).convert("RGB").save(buffer, "PNG")
    waiting: list[tuple[float, int, SimpleNamespace]] = []  # reports to come
    best: dict[int, float] = {}
    delays: list[float] = []
    random_ms: list[float] = []
    tpe_ms: list[float] = []
    thread_s = proposing_s = 0.0
    count = 0

    def begin(group: int) -> None:
        nonlocal proposing_s
        trial, cpu = clock.measure(sweep.start, f"trial-{len(sweep.records)}")
        proposing_s += cpu
        if trial is not None:
            (tpe_ms if proposals.last_is_tpe else random_ms).append(cpu * 1000)
            heapq.heappush(waiting, (clock.now + INTERVAL_S * dice.uniform(0.5, 1.5), group, trial))

    memory = psutil.Process().memory_info().rss
    with sweep.progress:
        process_s = time.process_time()
        made_up_s = 0.0
        for group in range(groups):
            begin(group)
        while waiting:
            arrived, group, trial = heapq.heappop(waiting)
            cpu = time.thread_time()
            report = curve(sweep.names, trial, best)
            if count % 10000 == 0:  # a file has only so many names
                preview.unlink(missing_ok=True)
                preview.write_bytes(buffer.getvalue())
            os.link(preview, sweep.paths.folder / "trials" / f"{report['number']:04d}" / preview_name(report["step"]))
            made_up_s += time.thread_time() - cpu
            clock.now = max(clock.now, arrived)
            goes_on, cpu = clock.measure(sweep.take, trial, report)
            thread_s += cpu
            count += 1
            delays.append(clock.now - arrived)
            if goes_on:
                heapq.heappush(waiting, (clock.now + INTERVAL_S * dice.uniform(0.5, 1.5), group, trial))
            else:
                begin(group)
        sweep.callback.log.close()
        process_s = time.process_time() - process_s - made_up_s - proposing_s
    grown = psutil.Process().memory_info().rss - memory
    assert sum(len(record.reports) for record in RecordBook(sweep.paths.trials).all()) == count
    assert len(sweep.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))) == trials
    files = (sweep.paths.folder, *sweep.paths.folder.rglob("*"))
    size = sum(file.stat().st_size for file in files if file.suffix != ".png")
    delays.sort()
    return Measured(
        groups, trials, count,
        thread_ms=1000 * thread_s / count,
        all_ms=1000 * process_s / count,
        delay_ms=(1000 * statistics.median(delays), 1000 * delays[int(0.99 * len(delays))], 1000 * delays[-1]),
        propose_ms=(statistics.median(random_ms or [math.nan]), statistics.median(tpe_ms[-5:])),
        mib=grown / 2**20,
        mib_on_disk=size / 2**20,
    )  # fmt: skip


def rows(combinations: list[tuple[int, int]], rule: str, folder: str | None) -> Iterator[Measured]:
    """Each run in a process of its own, for its memory's sake."""
    for groups, trials in combinations:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = [sys.executable, "-m", "tests.benchmarks.driver_scale", "--one", str(groups), str(trials), "--rule", rule]
            done = subprocess.run([*command, "--folder", scratch], stdout=subprocess.PIPE, check=True)
            yield Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Runs all combinations and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two combinations, about a minute")
    rules = ["none", "successive_halving"]
    parser.add_argument("--rule", choices=rules, default="none", help="none: every trial reports 20 times")
    parser.add_argument("--folder", help="where sweeps are written, and deleted again")
    parser.add_argument("--one", nargs=2, type=int, metavar=("GROUPS", "TRIALS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(asdict(drive(Path(args.folder), *args.one, args.rule))))
        return
    titles = ("groups", "trials", "reports", "CPU ms a report", "all threads", "delay ms: median", "99 %", "longest")
    titles += ("proposal ms: random", "TPE", "memory MiB", "disk MiB")
    print(" | ".join(titles))
    for row in rows(QUICK if args.quick else FULL, args.rule, args.folder):
        cells = [f"{row.groups}", f"{row.trials}", f"{row.reports}", f"{row.thread_ms:.2f}", f"{row.all_ms:.2f}"]
        cells += [f"{value:.1f}" for value in row.delay_ms] + [f"{value:.0f}" for value in row.propose_ms]
        cells += [f"{row.mib:.0f}", f"{row.mib_on_disk:.0f}"]
        print(" | ".join(cell.rjust(len(title)) for cell, title in zip(cells, titles, strict=True)), flush=True)


if __name__ == "__main__":
    main()
