"""Trials an hour with a hundred placeholders for worker groups: gansweep's driver beside bare Ray Tune on this machine.

    python -m tests.benchmarks.beside_tune [--groups 100] [--trials 600] [--rounds 1]

Both run Ray's own Tune loop over the same actors, which sleep through trials of one second and four reports. One side has Ray's
ASHA and OptunaSearch and keeps nothing; the other gansweep's searcher, scheduler, records, leaderboard and TensorBoard.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.storages import JournalStorage
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from cluster.environment import environment
from cluster.session import connect
from tests.tuner.sweeps import silent, small_spec
from tuner.engine.callbacks import SweepCallback
from tuner.engine.failures import Failures
from tuner.engine.journal import SweepJournal
from tuner.engine.patience import Patience
from tuner.engine.report import Report
from tuner.engine.scheduler import Surroundings, SweepScheduler
from tuner.engine.searcher import OptunaSearcher, open_study
from tuner.engine.starvation import Starvation
from tuner.engine.sweep import group_shape, tune_environment
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook
from tuner.schedulers import SCHEDULERS

REPORTS, SECONDS = 4, 1.0
RESOURCES = {"memory": 2**20}


class Placeholder(tune.Trainable):
    """A trial of a second: a score that falls, and depends on what was searched."""

    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.count = 0
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(SECONDS / REPORTS)
        self.count += 1
        number, trial = self.config.get("number", 0), self.config.get("trial")
        rate = trial["optimizer"]["generator_lr"] if trial else self.config["optimizer.generator_lr"]
        score = 100 * abs(math.log10(rate) + 3) + 50 / self.count
        if trial is None:
            return {"score_best": score, "kimg": self.count}
        report = {
            "number": number, "step": self.count, "kimg": float(self.count), "score": score, "score_best": score, "losses": {},
            "metrics": {}, "problem": None, "last": self.count == REPORTS, "resumed": False, "seconds_to_first_step": 0.0,
            "seconds_training": SECONDS / REPORTS,
        }  # fmt: skip
        return {"number": number, "kimg": report["kimg"], "score_best": score, "report": Report(report), "nodes": []}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def gansweep(folder: Path, groups: int, trials: int) -> float:
    """Seconds for the sweep, with all that its driver does."""
    spec = small_spec(
        folder,
        budget__trials=trials,
        budget__kimg=REPORTS,
        trial__evaluation__every_kimg=1,
        scheduler={"name": "successive_halving", "grace_kimg": 1, "reduction_factor": 2},
    )
    paths = SweepPaths(spec.root)
    paths.storage.write_bytes(paths.SPEC, b"")
    records = RecordBook(paths.trials)
    with silent(records, trials, None, spec.metric) as progress:
        patience = Patience(progress.message, lambda: None)
        failures = Failures(paths, records, patience, retries=3, breaker=5, can_do_without=lambda nodes: True)
        study = open_study(JournalStorage(SweepJournal(paths.folder / paths.JOURNAL, patience)))
        searcher = OptunaSearcher(study, spec.search_space(), spec.base, trials, spec.seed, records)
        callback = SweepCallback(paths, records, spec.metric, progress, Starvation(group_shape(spec)))
        surroundings = Surroundings(
            paths=paths,
            records=records,
            patience=patience,
            failures=failures,
            reported=callback.reported,
            exhausted=lambda: searcher.exhausted,
        )
        rule = SCHEDULERS["successive_halving"](spec.scheduler, REPORTS, spec.metric)
        config = tune.TuneConfig(
            search_alg=searcher,
            scheduler=SweepScheduler(rule, surroundings, None, groups),
            num_samples=-1,
            max_concurrent_trials=groups,
            reuse_actors=True,
        )
        run = tune.RunConfig(name="run", storage_path=str(folder / "tune"), verbose=0, callbacks=[callback])
        took = timed(groups, tune.Tuner(tune.with_resources(Placeholder, RESOURCES), tune_config=config, run_config=run))
        callback.log.close()
    assert len(records) == trials
    return took


def bare(folder: Path, groups: int, trials: int) -> float:
    """Seconds for the same with Ray's own parts, as its documentation puts them together."""
    space = {
        "discriminator.frozen_depth": optuna.distributions.IntDistribution(3, 5),
        "optimizer.generator_lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
    }
    search = OptunaSearch(space=space, metric="score_best", mode="min", seed=1)
    config = tune.TuneConfig(
        search_alg=ConcurrencyLimiter(search, max_concurrent=groups),
        scheduler=ASHAScheduler(
            time_attr="kimg", metric="score_best", mode="min", max_t=REPORTS, grace_period=1, reduction_factor=2
        ),
        num_samples=trials,
        reuse_actors=True,
    )
    run = tune.RunConfig(name="run", storage_path=str(folder / "tune"), verbose=0, stop={"kimg": REPORTS})
    return timed(groups, tune.Tuner(tune.with_resources(Placeholder, RESOURCES), tune_config=config, run_config=run))


def timed(groups: int, tuner: tune.Tuner) -> float:
    """Seconds of `fit`; the same environment for both sides."""
    with environment(tune_environment(groups)):
        started = time.monotonic()
        tuner.fit()
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    ratios = []
    for place in range(chosen.rounds):
        rates = {}
        for name, side in (("bare Ray Tune", bare), ("gansweep", gansweep))[:: 1 if place % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as folder, connect(num_cpus=os.cpu_count()):
                took = side(Path(folder), chosen.groups, chosen.trials)
            rates[name] = 3600 * chosen.trials / took
            print(
                f"{name:<14} {chosen.trials} trials with {chosen.groups} groups in {took:.0f} s: {rates[name]:,.0f} an hour",
                flush=True,
            )
        ratios.append(rates["gansweep"] / rates["bare Ray Tune"])
    print(f"gansweep runs {statistics.median(ratios):.2f} x as many trials an hour as bare Ray Tune")
    assert not ray.is_initialized()


if __name__ == "__main__":
    main()
