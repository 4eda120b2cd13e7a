"""One Ray Train worker: take a trial from the mailbox, build it, resume it, step, evaluate, report, take the next.

What stays warm between trials is data, weights and the real statistics of the metrics; a trial owns everything else and leaves
nothing behind. The mailbox is an actor handle whose class lives with the sweep (`tuner.engine.mailbox.Mailbox`): here only its
methods ``next``, ``report`` and ``fail`` are used.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import pickle
import random
import time
import traceback
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from torch import Tensor

from trainables.checkpoint import Saving, TrialFiles
from trainables.collective import Collective, CollectiveError
from trainables.config import TrialConfig
from trainables.data import DataOptions
from trainables.evaluation import FixedInputs, TrialEvaluator, load_pictures
from trainables.faults import fault_of, insist
from trainables.gan import GanTrainer
from trainables.guards import Interval, collapsed, saturated
from trainables.metrics import parse_any_metric
from trainables.metrics.embedding import NotFiniteError, WorkerFailedError
from trainables.networks import build_task
from trainables.pictures import grid, png
from trainables.scoring import score
from trainables.speed import apply_kernels
from trainables.storage import Storage

CONTINUE, STOP = "continue", "stop"
_SHAPE = ("task", "generator", "discriminator", "backbone", "resolution", "batch_size", "adversarial", "speed")
"""Of a trial's configuration, what compiled graphs depend on."""
_CHECK_EVERY = 8  # steps between looks at whether the losses are finite, each of which waits for the device


@dataclass(frozen=True)
class Assignment:
    """A trial on its way to a worker group."""

    number: int  # the trial's Optuna number
    config: dict[str, Any]  # `TrialConfig` as JSON data: to check it takes the networks' libraries, seconds of imports
    data: DataOptions
    storage: Storage  # rooted at the trial's folder
    cache_dir: str  # on the worker's node: packed images and real statistics
    handed_over_at: float  # time.time() of the hand-over, to measure the way to the first step


def train_loop(loop: dict[str, Any]) -> None:
    """What ``TorchTrainer`` runs on every worker, until the mailbox has no more trials for the group.

    An exception in a trial is told to the mailbox with its traceback and whose fault it is, and ends the group: the next trial
    gets fresh processes. When a peer has gone, Ray Train notices and ends the group.
    """
    mailbox = loop["mailbox"]
    torch.set_num_threads(loop["threads"])
    collective = Collective()
    device = ray.train.torch.get_device()
    finished: int | None = None
    while True:
        handed = collective.broadcast(ray.get(mailbox.next.remote(finished)) if collective.rank == 0 else None)
        if handed is None:
            return
        assignment: Assignment = pickle.loads(handed)
        try:
            run_trial(assignment, collective, device, lambda report: mailbox.report.remote(report))
        except CollectiveError:
            raise
        except Exception as error:
            # What another worker raised is told by that one.
            fault = None if isinstance(error, WorkerFailedError) else fault_of(error)
            ray.get(mailbox.fail.remote(assignment.number, traceback.format_exc(), fault))
            return
        finished = assignment.number


def run_trial(assignment: Assignment, collective: Collective, device: torch.device, send: Any) -> None:
    """Trains one trial from its newest checkpoint, or from the start, to its end or until it is told to stop.

    Args:
        send: takes a report and returns a future of the verdict, CONTINUE or STOP; called on rank 0 alone.
    """
    config, files = TrialConfig.model_validate(assignment.config), TrialFiles(assignment.storage, assignment.number)
    leave_nothing_behind(config)
    if collective.rank == 0:
        files.storage.collect(older_than_s=-1)  # what a killed worker left half written: nobody else writes there
    pictures = _pictures(config.task, assignment.data, assignment.cache_dir)
    trainer = GanTrainer(config, pictures.train, style=pictures.style, collective=collective, device=device)

    def verdict(report: dict[str, Any]) -> str:
        return collective.broadcast(ray.get(send(report)) if collective.rank == 0 else None)

    score_best, intervals = math.inf, []
    state = _newest(files, collective)
    if state is not None:
        trainer.load_state_dict(state["trainer"])
        score_best = state["report"]["score_best"]
        intervals = [Interval(*pair) for pair in state["report"]["intervals"]]
        # The report may have been lost with the worker that wrote the checkpoint; the mailbox drops it if it was not. The run
        # may have been made longer or shorter since.
        if verdict(state["report"] | {"resumed": True, "last": trainer.done}) == STOP:
            return
    started = time.time()
    for step in config.evaluation_steps():
        if step <= trainer.step_index:
            continue
        trained = trainer.step_index
        losses, problem = train_until(step, trainer, collective)
        # A D that has won gives G nothing to learn from; a target still does. While D trains alone, it is to win.
        judged = "d_accuracy" in losses and trained >= config.joint_step
        if judged and problem is None and not config.reconstruction.weight:
            intervals = [*intervals, Interval(losses["d_accuracy"], losses["g_loss"])][-2:]
            problem = saturated(intervals, config.guards)
        report: dict[str, Any] = {
            "number": assignment.number,
            "step": trainer.step_index,
            "kimg": trainer.kimg,
            "score": math.nan,
            "score_best": score_best,
            "losses": losses,
            "intervals": [list(interval) for interval in intervals],
            "problem": problem,
            "last": trainer.done,
            "resumed": state is not None,
            "seconds_training": time.time() - started,
            "seconds_to_first_step": trainer.first_step_at - assignment.handed_over_at,
        }
        if trainer.source_report is not None:
            report["source_share"] = trainer.source_report.generator_share
        if problem is None:
            started = time.time()
            # Not before the first step: in a fresh group the first evaluation builds what stays warm from then on.
            evaluator = _evaluator(
                config.evaluation.names, config.task, trainer.z_dim, assignment.data, assignment.cache_dir, device
            )
            report |= evaluate(trainer, evaluator, files, report)
            score_best = report["score_best"]
            report["seconds_evaluating"] = time.time() - started
        started = time.time()
        if verdict(report) == STOP:
            return


def _newest(files: TrialFiles, collective: Collective) -> dict[str, Any] | None:
    """The trial's newest checkpoint that can be read, the same on every worker; None when there is none."""
    found = files.newest() if collective.rank == 0 else None
    step = collective.broadcast(None if found is None else found["report"]["step"])
    return found if step is None or found is not None else files.load(step)


def train_until(step: int, trainer: GanTrainer, collective: Collective) -> tuple[dict[str, float], str | None]:
    """Steps up to ``step``; returns the mean losses over workers and steps, and the problem that ended it early, if any.

    A loss that is not computed in every step (a lazy regulariser's) counts as 0 in the others; where G and D train alone at
    first, a loss is averaged over the steps of the phases that have it.
    """
    totals: dict[str, Tensor] = {}
    means: dict[str, float] = {}
    steps: Counter[str] = Counter()
    seen: defaultdict[str, set[str]] = defaultdict(set)
    while trainer.step_index < step:
        phase = trainer.phase
        losses = trainer.step()
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value
        steps[phase] += 1
        seen[phase] |= losses.keys()
        if steps.total() % _CHECK_EVERY == 0 or trainer.step_index == step:
            sums = (collective.sum(torch.stack(list(totals.values()))) / collective.world_size).tolist()
            counts = [sum(steps[phase] for phase in steps if name in seen[phase]) for name in totals]
            means = {name: x / count for name, x, count in zip(totals, sums, counts, strict=True)}
            wrong = [f"{name} is {value}" for name, value in means.items() if not math.isfinite(value)]
            if wrong:
                return means, f"{', '.join(wrong)} by {trainer.kimg:.2f} kimg"
    return means, None


def evaluate(trainer: GanTrainer, evaluator: TrialEvaluator, files: TrialFiles, report: dict[str, Any]) -> dict[str, Any]:
    """Computes the metrics and, on rank 0 and beside it, writes checkpoint and preview. Returns what to add to ``report``."""
    config, driving = trainer.config, parse_any_metric(trainer.config.evaluation.metric)
    with _saving(trainer, evaluator, files) if trainer.collective.rank == 0 else contextlib.nullcontext() as saving:
        try:
            metrics = evaluator(trainer.sample)
        except (NotFiniteError, WorkerFailedError) as error:
            if isinstance(error, WorkerFailedError) and error.kind != NotFiniteError.__name__:
                raise
            return {"problem": f"{error} at {trainer.kimg:.2f} kimg"}
        value = score(driving, metrics[str(driving)])
        score_best = min(report["score_best"], value)
        diversity = evaluator.diversity(metrics)
        added = {
            "score": value,
            "score_best": score_best,
            "metrics": metrics,
            "problem": None if diversity is None else collapsed(diversity, config.guards),
        }
        if saving is not None:
            is_best = value == score_best
            waited = insist(lambda: saving.finish(report | added, is_best=is_best))
            if waited is not None:
                added["waited"] = waited
    return added


def _saving(trainer: GanTrainer, evaluator: TrialEvaluator, files: TrialFiles) -> Saving:
    """Pictures are made now; the rest is a thread's. Training, which would change what is written, waits for the verdict."""
    pictures = evaluator.inputs.preview(trainer.sample, trainer.config.evaluation.preview)
    told = trainer.config.model_dump(mode="json")
    return files.saving(trainer.state_dict(), trainer.step_index, lambda: png(grid(*pictures)), told)


def leave_nothing_behind(config: TrialConfig) -> None:
    """Puts the process's global state where a fresh process with this trial's seed would have it."""
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)
    torch.manual_seed(config.seed)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    apply_kernels(config.speed)
    _forget_other_graphs(config)
    if torch.cuda.is_available():
        gc.collect()  # networks that are cycles still hold the last trial's memory
        torch.cuda.empty_cache()
        torch.accelerator.empty_host_cache()


_compiled: list[object] = []  # of what shape the graphs are that this process has compiled


def _forget_other_graphs(config: TrialConfig) -> None:
    """Compiled graphs take minutes, and the next trial often is of the same shape. Graphs of another one would crowd them out."""
    if not config.speed.compile:
        return
    shape = tuple(getattr(config, key) for key in _SHAPE)
    if _compiled != [shape]:
        torch.compiler.reset()
        _compiled[:] = [shape]


# The options of tasks and of data are frozen pydantic models, so they can be keys.
_pictures = functools.lru_cache(maxsize=2)(load_pictures)


@functools.lru_cache(maxsize=2)
def _evaluator(
    names: tuple[str, ...], task: Any, z_dim: int, data: DataOptions, cache_dir: str, device: torch.device
) -> TrialEvaluator:
    inputs = FixedInputs(build_task(task, data.resolution), _pictures(task, data, cache_dir), z_dim, device)
    return TrialEvaluator(names, inputs, cache_dir=cache_dir, collective=Collective())
