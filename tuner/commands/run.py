"""``gansweep run`` and ``gansweep resume``: check, connect, search, score the finalists, export the best, show."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from cluster.placement import read_nodes, this_machine
from cluster.session import connect, inside_job
from trainables.metrics import MetricName
from trainables.scoring import score
from tuner.commands.dry_run import show_plan
from tuner.commands.input_errors import input_errors
from tuner.commands.shipped import CODE
from tuner.commands.sources import can_be_ranked, show
from tuner.commands.terminal import INTERRUPTED, fail, print_json
from tuner.commands.use import quoted, use_of
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.engine.lease import hold
from tuner.engine.sweep import Outcome, placement_of, run_sweep
from tuner.finish.calibration import calibrated
from tuner.finish.export import export_best
from tuner.finish.finalists import SOURCE, best_finalist, score_finalists
from tuner.finish.sources import ranked_for
from tuner.records.paths import SweepPaths, cache_dir, load_paths
from tuner.records.progress import Progress, table
from tuner.records.tables import leaderboard
from tuner.records.text import shown
from tuner.spec import SweepSpec, load_spec
from tuner.spec.doubts import doubts
from tuner.spec.preflight import preflight
from tuner.spec.source_fit import source_problems


def run(file: Path, overrides: list[str], *, dry_run: bool, as_json: bool, address: str | None) -> None:
    """`gansweep run`."""
    console = Console(stderr=as_json, markup=False)
    with input_errors():
        spec = load_spec(file, overrides)
        if dry_run:
            with console.status("checking sources"):
                if problems := list(source_problems(spec)):
                    raise spec.error(problems)
            _tell_doubts(spec, console)
            with _nodes(address) as nodes:
                placement = placement_of(spec, nodes)
                show_plan(spec, placement, console, as_json=as_json)
            return
        _check(spec, console, resuming=False)
        _run(spec, console, as_json=as_json, address=address)


def resume(
    sweep: Path, overrides: list[str], *, as_json: bool, address: str | None, take_over: bool = False, retry_failed: bool = False
) -> None:
    """`gansweep resume`."""
    console = Console(stderr=as_json, markup=False)
    with input_errors():
        paths = load_paths(sweep)
        spec = load_spec(paths.folder / paths.SPEC, overrides)
        if spec.root.resolve() != paths.folder.resolve():
            # The sweep's folder was moved or is mounted elsewhere: where it is now is where it goes on.
            spec = spec.model_copy(update={"storage": str(paths.folder.parent), "name": paths.folder.name})
        _check(spec, console, resuming=True)
        _run(spec, console, as_json=as_json, address=address, take_over=take_over, retry_failed=retry_failed)


def _check(spec: SweepSpec, console: Console, *, resuming: bool) -> None:
    with console.status("checking images, weights and storage"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        skipped = preflight(spec, Path(cache_dir()).expanduser(), resuming=resuming)
    _tell_doubts(spec, console)
    for warning in caught:
        console.print(f"warning: {warning.message}")
    for name, reason in skipped:
        console.print(f"skipped image {name}: {reason}")


def _tell_doubts(spec: SweepSpec, console: Console) -> None:
    for doubt in doubts(spec):
        console.print(f"warning: {doubt}", soft_wrap=True)


def _run(
    spec: SweepSpec,
    console: Console,
    *,
    as_json: bool,
    address: str | None,
    take_over: bool = False,
    retry_failed: bool = False,
) -> None:
    _quiet()
    if inside_job():
        # `gansweep stop` sends SIGINT, which whatever descends from a background process of a shell is born to ignore.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    paths, say = SweepPaths(spec.root), functools.partial(console.print, soft_wrap=True)
    if address is None:
        # An embedded Ray would have this machine: what can never be placed on it is refused before Ray starts.
        placement_of(spec, this_machine())
    say(f"sweep {spec.name}: {paths.folder}")
    say(f"watch: tensorboard --logdir {quoted(paths.tensorboard())}")
    with (
        hold(paths.folder / paths.LEASE, take_over=take_over, say=say) as lease,
        connect(address, code=CODE if address else (), env_vars=TRAIN_ENVIRONMENT),
    ):
        if spec.evaluation_budget is not None:
            with console.status("measuring what training and evaluating cost"):
                spec, chosen = calibrated(spec, cache_dir())
            say(f"evaluation: {chosen.explanation}")
        if len(spec.sources) > 1 and can_be_ranked(spec) and not paths.storage.exists(paths.SPEC):
            _rank_sources(spec, paths, console)
        outcome = run_sweep(spec, _progress_on(console), lease=lease, retry_failed=retry_failed)
        console.print(table(outcome.records, spec.metric))
        _ends_here(outcome, f"gansweep resume {quoted(paths.folder)}", console)
        try:
            source = _finalists(spec, paths, outcome, console)
        except KeyboardInterrupt:
            console.print(f"interrupted while scoring finalists. Go on: gansweep resume {quoted(paths.folder)}")
            raise SystemExit(INTERRUPTED) from None
        folder = export_best(paths, spec)
    if as_json:
        print_json(leaderboard(outcome.records, spec.metric) | {"export": str(folder), "source": source})
    _show_result(spec, paths, outcome, folder, source, console)


def _rank_sources(spec: SweepSpec, paths: SweepPaths, console: Console) -> None:
    """Shows which source suits the pictures best; it is the sweep that decides, so what goes wrong here is told and no more."""
    try:
        with console.status("ranking the sources"):
            ranking = ranked_for(spec, paths, cache_dir())
    except ray.exceptions.RayError as error:
        console.print(f"the sources could not be ranked: {str(error).strip().splitlines()[-1]}", soft_wrap=True)
        return
    metric = spec.metric
    assert isinstance(metric, MetricName)
    show(ranking, metric, console)
    console.print("all of them are searched anyhow; to leave one out, take it from source in the spec", soft_wrap=True)


def _ends_here(outcome: Outcome, go_on: str, console: Console) -> None:
    """Leaves with the right exit code where there is nothing to finish yet; says what is left where there is."""
    left = len(outcome.records.unfinished())
    if outcome.interrupted:
        console.print(f"interrupted; {left} trials are unfinished. Go on: {go_on}")
        raise SystemExit(INTERRUPTED)
    if outcome.paused:
        fail(f"the sweep has paused: {outcome.paused}.\n{left} trials are unfinished. Go on: {go_on}", code=1)
    if not outcome.records.ranking():
        fail("no trial reached an evaluation with a finite score; the reasons are in the table above", code=1)
    if left:
        console.print(f"the wall time is used up; {left} trials are unfinished. Go on with more of it: {go_on}")


def _finalists(spec: SweepSpec, paths: SweepPaths, outcome: Outcome, console: Console) -> dict[str, float] | None:
    """Scores finalists and source with a line for each; returns the source generator's values."""
    source = None
    if spec.finalists or len(spec.sources) == 1:
        console.print("scoring the finalists" if spec.finalists else "scoring the source generator")
    for number, values in score_finalists(spec, paths, outcome.records, cache_dir()):
        name = "source generator" if number == SOURCE else f"trial {number}"
        if isinstance(values, str):
            console.print(f"  {name} could not be scored: {values}", soft_wrap=True)
            continue
        for metric, value in values.items():
            console.print(f"  {name}: {metric} {shown(value)}", soft_wrap=True)
        if number == SOURCE:
            source = values
    return source


def _show_result(
    spec: SweepSpec, paths: SweepPaths, outcome: Outcome, folder: Path, source: dict[str, float] | None, console: Console
) -> None:
    best, metric = outcome.records.ranking()[0], spec.metric
    value = score(metric, best.score_best)
    lines = [f"best {metric}: {shown(value)} (trial {best.number})"]
    if source:
        lines[0] += f", {value / source[str(metric)]:.2f} of the source generator's {shown(source[str(metric)])}"
    finalist = best_finalist(paths)
    if finalist:
        lines.append(f"best finalist by {finalist[1]}: trial {finalist[0]}, {shown(finalist[2])}")
    if any(r.values.get("weights", spec.trial.get("weights")) == "random" for r in outcome.records.all()):
        lines.append("note: `weights: random` was set: no backbone was pretrained")
    console.print("\n".join(lines), soft_wrap=True)
    events, pictures = paths.tensorboard(), folder / "samples.png"
    for name, path, command in (
        ("pictures", pictures, f"xdg-open {quoted(pictures)}"),
        ("generator", folder, use_of(folder, spec)),
        ("TensorBoard", events, f"tensorboard --logdir {quoted(events)}"),
        ("tables", paths.folder, f"ls {quoted(paths.folder)}"),
    ):
        console.print(f"{name:<12} {path}\n{'':<12} {command}", soft_wrap=True)


def _progress_on(console: Console) -> Callable[..., Progress]:
    return functools.partial(Progress, console)


@contextlib.contextmanager
def _nodes(address: str | None) -> Iterator[Any]:
    """Resources of the machines that the sweep would run on; this machine's without starting Ray."""
    if address is None:
        yield this_machine()
    else:
        with connect(address):
            yield read_nodes()


def _quiet() -> None:
    """Tune and Train say through our own display what matters; their logs would tear it."""
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
