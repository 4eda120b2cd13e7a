"""The sweep: spec → Tuner → results. A resumed sweep is a new Tuner over the same journal.

Tune is an engine without memory here: what a sweep knows is its journal, its scheduler's file, its records and its checkpoints.
"""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import ray
from optuna.storages import JournalStorage
from ray import tune

from cluster.environment import environment
from cluster.janitor import held_placement_groups, remove_placement_groups
from cluster.placement import GroupShape, Node, PlacementError, PlacementPlan, plan, read_nodes
from trainables.checkpoint import TrialFiles
from tuner.engine.callbacks import SweepCallback
from tuner.engine.ending import Ending
from tuner.engine.failures import Failures
from tuner.engine.journal import SweepJournal
from tuner.engine.lease import Lease
from tuner.engine.patience import Patience
from tuner.engine.probe import check_nodes
from tuner.engine.ray_internals import start_coordinator
from tuner.engine.scheduler import Surroundings, SweepScheduler
from tuner.engine.searcher import OptunaSearcher, open_study
from tuner.engine.starvation import Starvation
from tuner.engine.trial import GroupTrial, TrialContext
from tuner.records.paths import SweepPaths, cache_dir
from tuner.records.progress import Progress
from tuner.records.tables import write_leaderboard, write_tables
from tuner.records.trials import Fault, RecordBook, State
from tuner.schedulers import SCHEDULERS
from tuner.spec import SweepSpec, dump_spec
from tuner.spec.fingerprint import write_fingerprint

TUNE_ACTOR_BYTES = 900 * 2**20
"""What a Tune actor, which holds Train's controller, takes of a node's memory beside its workers (docs/reliability.md)."""

_GIVEN_BACK_WITHIN_S = 10.0
_UNFINISHED_S = 3600.0  # a write that has not ended after that was its process's last


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended."""

    records: RecordBook
    interrupted: bool = False  # by Ctrl-C or SIGTERM; `gansweep resume` goes on
    paused: str | None = None  # why it cannot go on by itself: failures in a row, or another driver


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


def placement_of(spec: SweepSpec, nodes: Sequence[Node]) -> PlacementPlan:
    """How many worker groups of the sweep run at once on these nodes, and where.

    Raises:
        PlacementError: not even one can ever be placed.
    """
    shape, actors = group_shape(spec), sum(node.memory_bytes // TUNE_ACTOR_BYTES for node in nodes)
    if actors < 1:
        rule = f"a group needs {TUNE_ACTOR_BYTES / 2**30:.1f} GiB of memory of one node beside its workers'"
        raise PlacementError(f"{rule}, and none has as much: {', '.join(map(str, nodes))}")
    wanted = min(spec.budget.trials, spec.resources.max_groups or spec.budget.trials)
    asked = shape
    if shape.memory_bytes_per_worker:  # a group's Tune actor takes of the same memory
        share = math.ceil(TUNE_ACTOR_BYTES / shape.workers)
        asked = replace(shape, memory_bytes_per_worker=shape.memory_bytes_per_worker + share)
    return replace(plan(asked, nodes, at_most=min(wanted, actors)), shape=shape)


def run_sweep(
    spec: SweepSpec, progress_of: Callable[..., Progress], *, lease: Lease | None = None, retry_failed: bool = False
) -> Outcome:
    """Runs a sweep, or what is left of one, on the Ray that this process is connected to.

    Args:
        progress_of: makes the display from (records, trials, deadline, metric).
        lease: what keeps other drivers away, held by the caller; the sweep ends when it is lost.
        retry_failed: whether trials that failed for other reasons than their training are tried again.

    Raises:
        PlacementError: the cluster can never place even one worker group.
        NodesError: some nodes see neither the sweep's folder nor its pictures.
    """
    paths = SweepPaths(spec.root)
    placement = _prepared(spec, paths)
    records = RecordBook(paths.trials)
    ending = Ending(spec.budget.wall_minutes * 60 if spec.budget.wall_minutes else None)
    if lease is not None:
        ending.because.append(lambda: f"it was taken over by {lease.lost}" if lease.lost else None)

    def ours() -> bool:
        return lease is None or lease.is_ours()

    with progress_of(records, spec.budget.trials, ending.deadline, spec.metric) as progress, ending.signals():
        patience = Patience(progress.message, ending.reason, ours)
        for attempt in range(spec.retries + 1):
            run = _Run(spec, paths, placement, records, ending, patience, progress, ours)
            if retry_failed:
                run.retry_failed()
            if run.fit(may_fail=attempt < spec.retries):
                break
        if lease is not None and lease.lost:
            return Outcome(records, paused=ending.reason())  # its files are another driver's now
        patience.insist("writing the leaderboard", lambda: write_leaderboard(paths, records, spec.metric))
        patience.insist("writing the tables", lambda: write_tables(paths, records, spec.metric))
    return Outcome(records, ending.interrupted, run.failures.paused)


def _prepared(spec: SweepSpec, paths: SweepPaths) -> PlacementPlan:
    """Writes what makes the folder a sweep; where its groups will run, on nodes that all see it."""
    nodes = read_nodes()
    placement = placement_of(spec, nodes)
    write_fingerprint(spec, Path(cache_dir()).expanduser())
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    paths.storage.collect(older_than_s=_UNFINISHED_S)
    check_nodes(paths, [spec.data.path, *spec.sources], nodes)
    return placement


class _Run:
    """The parts of one run of a sweep, put together."""

    def __init__(
        self,
        spec: SweepSpec,
        paths: SweepPaths,
        placement: PlacementPlan,
        records: RecordBook,
        ending: Ending,
        patience: Patience,
        progress: Progress,
        ours: Callable[[], bool],
    ) -> None:
        self.spec, self.paths, self.placement, self.records, self.ending = spec, paths, placement, records, ending
        self.progress = progress
        self.failures = Failures(
            paths,
            records,
            patience,
            retries=spec.retries,
            breaker=spec.breaker,
            can_do_without=lambda ids: _fits_without(ids, placement.shape),
            say=progress.message,
        )
        ending.because.append(lambda: self.failures.paused)
        for number in records.unfinished():  # what failed before this run counts no more
            patience.insist(f"writing trial {number}'s record", functools.partial(records.reopen, number))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.searcher = OptunaSearcher(
            open_study(JournalStorage(SweepJournal(paths.folder / paths.JOURNAL, patience))),
            spec.search_space(),
            spec.base,
            spec.budget.trials,
            spec.seed,
            records,
            ending.deadline,
            avoid=self.failures.avoid,
            insist=patience.insist,
            starts=spec.starts(),
        )
        self.callback = SweepCallback(paths, records, spec.metric, progress, Starvation(placement.shape), ours)
        surroundings = Surroundings(
            paths=paths,
            records=records,
            patience=patience,
            failures=self.failures,
            reported=self.callback.reported,
            exhausted=lambda: self.searcher.exhausted,
        )
        rule = SCHEDULERS[spec.scheduler.name](spec.scheduler, spec.budget.kimg, spec.metric)
        keep_warm = placement.concurrency if spec.isolation == "warm" else 0
        self.scheduler = SweepScheduler(rule, surroundings, ending.deadline, keep_warm)

    def retry_failed(self) -> None:
        """Has every trial tried again that failed for another reason than its training, unless that has been done before."""
        for record in self.records.all():
            mendable = record.state == State.FAILED and record.fault != Fault.TRAINING
            if mendable and record.number not in self.searcher.retried:
                again = self.searcher.try_again(record.number)
                # Its new number's files are those it left.
                TrialFiles(self.paths.trial(again), again).adopt(TrialFiles(self.paths.trial(record.number), record.number))

    def fit(self, *, may_fail: bool) -> bool:
        """Runs Tune's loop, and gives everything back; returns whether it came to the sweep's end.

        Args:
            may_fail: whether the loop can be run again where Ray lost an actor in a way that Tune does not expect, as its memory
                monitor does; everything else is raised.
        """
        start_coordinator()
        scratch = self.paths.folder / ".tune"
        try:
            with environment(tune_environment(self.placement.concurrency)):
                self._tuner(scratch).fit()
        except Exception as error:
            last = str(error).strip().splitlines()[-1:] or [repr(error)]
            if self.ending.reason() is not None:
                # Such as a storage that was away when the sweep was told to end: what could not be written is in the checkpoints.
                self.progress.message(f"while it ended: {last[0]}")
            elif may_fail and isinstance(error.__cause__, ray.exceptions.RayError):
                self.progress.message(f"Ray Tune's loop has ended: {last[0]}. It is started again")
                return False
            else:
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with contextlib.suppress(Exception):  # the records have it all; a resumed sweep writes the leaderboard anew
                self.callback.log.close()
            _give_back(self.callback.actors)
        return True

    def _tuner(self, scratch: Path) -> tune.Tuner:
        context = TrialContext(self.placement.shape, self.spec.data, self.paths.trials, cache_dir())
        trainable = tune.with_parameters(GroupTrial, context=context)
        return tune.Tuner(
            tune.with_resources(trainable, {"memory": TUNE_ACTOR_BYTES}),
            tune_config=tune.TuneConfig(
                search_alg=self.searcher,
                scheduler=self.scheduler,
                num_samples=-1,  # the searcher says when there are no more
                max_concurrent_trials=self.placement.concurrency,
                reuse_actors=self.spec.isolation == "warm",
            ),
            run_config=tune.RunConfig(
                name="run", storage_path=str(scratch), verbose=0, callbacks=[self.callback], stop=self.ending
            ),
        )


def tune_environment(groups: int) -> dict[str, str]:
    """Tune writes no files of its own that anyone reads: results, TensorBoard and state are the sweep's, and so are signals."""
    return {
        "RAY_AIR_NEW_OUTPUT": "0",  # without its new output engine it keeps quiet at verbose=0
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
        "TUNE_MAX_PENDING_TRIALS_PG": str(groups),  # with a searcher of one's own it would start one group after another
    }


def _fits_without(nodes: Iterable[str], shape: GroupShape) -> bool:
    """Whether the rest of the cluster can place at least half of the groups that all of it can."""
    left_out, all_of_them = set(nodes), read_nodes()
    try:
        rest = plan(shape, [node for node in all_of_them if node.id not in left_out])
    except PlacementError:
        return False
    return 2 * rest.capacity >= plan(shape, all_of_them).capacity


def _give_back(actors: set[str]) -> None:
    """Removes what Tune actors of this sweep had no time to give back; others of this process's job are not ours."""
    deadline = time.monotonic() + _GIVEN_BACK_WITHIN_S
    # An actor that was ended while it started is not among the known ones; by then it is dead.
    while ours := [group for group in held_placement_groups() if group.creator in actors or group.orphaned]:
        with contextlib.suppress(TimeoutError):
            remove_placement_groups(group.id for group in ours)
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
