"""Warm worker groups beside the plain documentation pattern, in one run on one machine.

Both train the demo's trials (same configurations, same length, no early stops, two workers of one CPU):

- gansweep: one `TorchTrainer` for the sweep, trials handed to it;
- the pattern of Ray's documentation: a function trainable that calls ``TorchTrainer.fit()`` with `TuneReportCallback`, a worker
  group for each trial. Its drivers get CPUs of their own, so that they cannot take the workers'.

Prints seconds from a trial's start to the start of its first training step, models built, and the share of worker-seconds
spent training or evaluating. Run: python -m tests.benchmarks.warm_groups [--trials 5] [--kimg 1.0]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

from cluster.session import connect
from tests.tuner.sweeps import silent
from trainables.storage import Storage
from tuner.commands.dry_run import example_trials
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.engine.sweep import run_sweep
from tuner.records.paths import cache_dir
from tuner.spec import SweepSpec, load_spec
from tuner.spec.trial_config import trial_config

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


def main() -> None:
    """Runs both and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--kimg", type=float, default=1.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = load_spec(
            ROOT / "examples" / "twemoji" / "sweep.yaml",
            [
                f"budget.trials={args.trials}",
                f"budget.kimg={args.kimg}",
                "scheduler={name: none}",
                "finalists=null",
                f"storage={folder}",
            ],
        )
        ours, theirs = warm(spec), documented(spec, Path(folder))
    print(f"{'':34}{'gansweep':>12}{'documented':>12}{'ratio':>8}")
    for name, mine, other in (
        ("first trial to its first step, s", ours["starts"][0], theirs["starts"][0]),
        ("later trials, median s", statistics.median(ours["starts"][1:]), statistics.median(theirs["starts"][1:])),
        ("later trials, slowest s", max(ours["starts"][1:]), max(theirs["starts"][1:])),
        ("whole sweep, s", ours["wall"], theirs["wall"]),
    ):
        print(f"{name:34}{mine:12.2f}{other:12.2f}{other / mine:7.1f}x")
    useful = [sum(side["seconds"]) / side["wall"] for side in (ours, theirs)]
    print(f"{'useful worker-seconds':34}{useful[0]:12.1%}{useful[1]:12.1%}")


def warm(spec: SweepSpec) -> dict[str, Any]:
    """gansweep's own sweep; the wall time includes starting the group and giving it back."""
    with connect(num_cpus=WORKERS, env_vars=TRAIN_ENVIRONMENT):
        started = time.time()
        records = run_sweep(spec, silent).records.all()
        wall = time.time() - started
    return {"starts": [r.seconds_to_first_step for r in records], "seconds": [r.worker_seconds for r in records], "wall": wall}


def documented(spec: SweepSpec, folder: Path) -> dict[str, Any]:
    """The same trials by https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html."""
    from ray import tune

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"], os.environ["RAY_AIR_NEW_OUTPUT"] = "1", "0"
    configs = [trial_config(spec.base, values).model_dump(mode="json") for values in example_trials(spec, spec.budget.trials)]
    with connect(num_cpus=WORKERS + 1):
        started = time.time()
        tuner = tune.Tuner(
            tune.with_resources(_driver, {"CPU": 1}),
            param_space={
                "trial": tune.grid_search(configs),
                "data": spec.data.model_dump(mode="json"),
                "folder": str(folder / "documented"),
            },
            tune_config=tune.TuneConfig(max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
        )
        results = [result.metrics for result in tuner.fit()]
        wall = time.time() - started
    return {
        "starts": [r["seconds_to_first_step"] for r in results],
        "seconds": [r["seconds"] for r in results],
        "wall": wall,
    }


def _driver(config: dict[str, Any]) -> None:
    """A Tune trial as documented: it fits a trainer of its own."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _loop,
        train_loop_config=config | {"started": time.time()},
        scaling_config=ScalingConfig(num_workers=WORKERS, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=config["folder"], callbacks=[TuneReportCallback()]),
    ).fit()


def _loop(config: dict[str, Any]) -> None:
    """The worker's side: the same work as gansweep's worker, reported by ``ray.train.report`` at every evaluation."""
    import ray.train
    import torch

    from trainables.collective import Collective
    from trainables.data import DataOptions
    from trainables.worker import CONTINUE, Assignment, run_trial

    torch.set_num_threads(1)
    number = zlib.crc32(str(config["trial"]).encode())
    assignment = Assignment(
        number=number,
        config=config["trial"],
        data=DataOptions.model_validate(config["data"]),
        storage=Storage(f"{config['folder']}/{number}"),
        cache_dir=cache_dir(),
        handed_over_at=config["started"],
    )
    collective, reports = Collective(), []

    def send(report: dict[str, Any]) -> Any:
        reports.append(report)
        return ray.put(CONTINUE)

    run_trial(assignment, collective, torch.device("cpu"), send)
    reports = collective.broadcast(reports)
    seconds = sum(r["seconds_training"] + r.get("seconds_evaluating", 0.0) for r in reports)
    ray.train.report({"seconds_to_first_step": reports[0]["seconds_to_first_step"], "seconds": seconds})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
