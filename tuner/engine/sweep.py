"""The sweep: spec → Tuner → results. A resumed sweep is a new Tuner over the same journal.

Tune is an engine without memory here: what a sweep knows is its journal, its scheduler's file, its records and its checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune

from cluster.environment import environment
from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape, PlacementPlan, plan, read_nodes
from tuner.engine.callbacks import SweepCallback
from tuner.engine.mailbox import Mailbox
from tuner.engine.ray_internals import start_coordinator
from tuner.engine.scheduler import SweepScheduler
from tuner.engine.searcher import OptunaSearcher, open_study
from tuner.engine.starvation import Starvation
from tuner.engine.trial import GroupTrial, TrialContext
from tuner.records.paths import SweepPaths, cache_dir
from tuner.records.progress import Progress
from tuner.records.tables import write_leaderboard, write_tables
from tuner.records.trials import RecordBook
from tuner.schedulers import SCHEDULERS
from tuner.spec import SweepSpec, dump_spec

# Tune writes no files of its own that anyone reads: results, TensorBoard and state are the sweep's.
# Signals are ours to handle; without its new output engine it keeps quiet at verbose=0.
_TUNE_ENVIRONMENT = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_DISABLE_SIGINT_HANDLER": "1"}


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended."""

    records: RecordBook
    interrupted: bool  # by Ctrl-C or SIGTERM; `gansweep resume` goes on


def group_shape(spec: SweepSpec) -> GroupShape:
    """What one worker group of the sweep asks for."""
    resources = spec.resources
    return GroupShape(
        workers=resources.workers,
        cpus_per_worker=resources.cpus_per_worker,
        gpus_per_worker=resources.gpus_per_worker,
        memory_bytes_per_worker=int(resources.memory_gib_per_worker * 2**30),
        one_node=resources.one_node,
    )


def run_sweep(spec: SweepSpec, progress_of: Callable[..., Progress]) -> Outcome:
    """Runs a sweep, or what is left of one, on the Ray that this process is connected to.

    Args:
        progress_of: makes the display from (records, trials, deadline, metric).

    Raises:
        PlacementError: the cluster can never place even one worker group.
    """
    paths = SweepPaths(spec.root)
    placement = plan(group_shape(spec), read_nodes(), at_most=spec.budget.trials)
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = open_study(JournalStorage(JournalFileBackend(str(paths.folder / paths.JOURNAL))))
    records = RecordBook(paths.trials)
    metric = spec.metric
    deadline = time.time() + spec.budget.wall_minutes * 60 if spec.budget.wall_minutes else None
    interrupted = _Interrupted()
    with progress_of(records, spec.budget.trials, deadline, metric) as progress, interrupted.watch():
        start_coordinator()
        mailbox = Mailbox.remote()  # type: ignore[attr-defined]
        callback = SweepCallback(paths, records, metric, progress, Starvation(placement.shape))
        searcher = OptunaSearcher(study, spec.search_space(), spec.base, spec.budget.trials, spec.seed, records, deadline)
        _fit(spec, paths, placement, mailbox, searcher, callback, deadline)
        callback.log.close()
    write_leaderboard(paths, records, metric)
    write_tables(paths, records, metric)
    return Outcome(records, interrupted.happened)


def _fit(
    spec: SweepSpec,
    paths: SweepPaths,
    placement: PlacementPlan,
    mailbox: Any,
    searcher: OptunaSearcher,
    callback: SweepCallback,
    deadline: float | None,
) -> None:
    context = TrialContext(mailbox, placement.shape, spec.data, paths.trials, cache_dir())
    rule = SCHEDULERS[spec.scheduler.name](spec.scheduler, spec.budget.kimg, spec.metric)
    warm = spec.isolation == "warm"
    scratch = paths.folder / ".tune"
    with environment(_TUNE_ENVIRONMENT):
        tuner = tune.Tuner(
            # Tune refuses an actor that asks for nothing; a byte of memory takes no CPU from the workers.
            tune.with_resources(tune.with_parameters(GroupTrial, context=context), {"memory": 1}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=SweepScheduler(rule, searcher.records, paths.storage, deadline, placement.concurrency if warm else 0),
                num_samples=-1,  # the searcher says when there are no more
                max_concurrent_trials=placement.concurrency,
                reuse_actors=warm,
            ),
            run_config=tune.RunConfig(name="run", storage_path=str(scratch), verbose=0, callbacks=[callback]),
        )
        try:
            tuner.fit()
        finally:
            # What a Tune actor had no time to give back.
            remove_placement_groups(group.id for group in held_placement_groups())
            ray.kill(mailbox)
            shutil.rmtree(scratch, ignore_errors=True)


class _Interrupted:
    """Turns Ctrl-C and SIGTERM (which `ray job stop` sends) into an orderly end of Tune's loop, and notes that they came."""

    def __init__(self) -> None:
        self.happened = False

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Handles both signals inside the block; does nothing outside the main thread, where Python takes no signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: Any) -> None:
            self.happened = True
            # Tune ends its loop on SIGUSR1 just as on SIGINT, whose handler is ours.
            os.kill(os.getpid(), signal.SIGUSR1)

        # Outside of Tune's loop SIGUSR1 must do nothing; by default it would kill the process.
        handlers = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGUSR1: lambda number, frame: None}
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
