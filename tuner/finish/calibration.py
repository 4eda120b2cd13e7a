"""How often and on how many images a sweep evaluates, when the user gives a budget instead: measured once, at its start.

All trials are judged alike, so one measurement on one worker decides for all. Training and evaluation are both shared by a
trial's workers, so their ratio is that of one worker.
"""

from __future__ import annotations

import time

import ray
import torch

from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import DataOptions
from trainables.evaluation import FixedInputs, TrialEvaluator, load_pictures
from trainables.gan import GanTrainer
from trainables.metrics import of_n
from trainables.metrics.budget import EvaluationPlan, Measurement, choose_evaluation, measure_evaluation
from tuner.spec import SweepSpec
from tuner.spec.checks import example_configs

_STEPS = 4
_IMAGES = (32, 160)  # far enough apart that the difference is no noise


def calibrated(spec: SweepSpec, cache_dir: str) -> tuple[SweepSpec, EvaluationPlan]:
    """The spec with metric and cadence chosen to keep ``evaluation_budget``, and how that was found.

    Measures on one worker's share of the cluster that this process is connected to.
    """
    assert spec.evaluation_budget is not None
    resources = spec.resources
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=2)(measure)
    device, threads = "cuda" if resources.gpus_per_worker else "cpu", max(1, int(resources.cpus_per_worker))
    measured = ray.get(task.remote(example_configs(spec)[0], spec.data, cache_dir, device, threads))
    plan = choose_evaluation(measured, kimg=spec.budget.kimg, budget=spec.evaluation_budget)
    return with_plan(spec, plan), plan


def with_plan(spec: SweepSpec, plan: EvaluationPlan) -> SweepSpec:
    """The spec with what ``plan`` chose written into its trials; the budget is thereby spent."""
    evaluation = dict(spec.base["evaluation"])
    for key in ("metric", "also"):
        if key in evaluation:
            names = [evaluation[key]] if key == "metric" else evaluation[key]
            chosen = [of_n(name, plan.n) for name in names]
            evaluation[key] = chosen[0] if key == "metric" else chosen
    evaluation["every_kimg"] = plan.every_kimg
    return spec.model_copy(update={"trial": spec.trial | {"evaluation": evaluation}, "evaluation_budget": None})


def measure(config: TrialConfig, data: DataOptions, cache_dir: str, device: str, threads: int) -> Measurement:
    """Times a few training steps and two evaluations of one configuration in this process."""
    torch.set_num_threads(threads)
    pictures = load_pictures(config.task, data, cache_dir)
    trainer = GanTrainer(config, pictures.train, style=pictures.style, device=device)
    trainer.step()
    _finish(device)
    started = time.perf_counter()
    for _ in range(_STEPS):
        trainer.step()
    _finish(device)
    per_kimg = (time.perf_counter() - started) / (_STEPS * config.batch_size) * 1000
    runs = []
    inputs = FixedInputs(trainer.task, pictures, trainer.z_dim, trainer.device)
    for n in _IMAGES:
        names = [of_n(name, n) for name in config.evaluation.names]
        evaluator = TrialEvaluator(names, inputs, cache_dir=cache_dir, collective=Collective())
        for timed in (False, True):  # the first one warms up
            started = time.perf_counter()
            evaluator(trainer.sample)
            if timed:
                runs.append((n, time.perf_counter() - started))
    per_image, fixed = measure_evaluation(runs)
    return Measurement(training_seconds_per_kimg=per_kimg, evaluation_seconds_per_image=per_image, evaluation_seconds_fixed=fixed)


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
