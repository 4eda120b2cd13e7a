"""What the commands of `tuner.cli` do, for those that need the whole sweep: check, connect, run, show."""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

import cluster
import search_spaces
import trainables
import tuner
from cluster.errors import ClusterError
from cluster.jobs import DEFAULT_ADDRESS, Jobs
from cluster.placement import PlacementError, plan, read_nodes, this_machine
from cluster.session import connect, inside_job
from trainables.backbones import WeightsNotFoundError
from trainables.metrics import score
from trainables.metrics.inception import InceptionWeightsNotFoundError
from tuner.calibration import calibrated
from tuner.export import export_best
from tuner.finalists import SOURCE, best_finalist, score_finalists
from tuner.group import TRAIN_ENVIRONMENT
from tuner.metrics_command import compare, show
from tuner.paths import CACHE_DIR, SweepPaths
from tuner.preflight import preflight
from tuner.preview import show_plan
from tuner.problems import SpecError
from tuner.progress import Progress, table
from tuner.records import shown
from tuner.results import leaderboard
from tuner.spec import SweepSpec, dump_spec, load_spec
from tuner.sweep import Outcome, group_shape, load_paths, run_sweep, sweep_metric, unfinished
from tuner.terminal import INTERRUPTED, bars, counted, fail, print_json

CODE = [Path(package.__file__).parent for package in (cluster, search_spaces, trainables, tuner) if package.__file__]


def run(file: Path, overrides: list[str], *, dry_run: bool, as_json: bool, address: str | None) -> None:
    """`gansweep run`."""
    console = Console(stderr=as_json, markup=False)
    with _input_errors():
        spec = load_spec(file, overrides)
        if dry_run:
            with _nodes(address) as nodes:
                placement = plan(group_shape(spec), nodes, at_most=spec.budget.trials)
                show_plan(spec, placement, console, as_json=as_json)
            return
        _check(spec, console, resuming=False)
        _run(spec, console, as_json=as_json, address=address)


def resume(sweep: Path, overrides: list[str], *, as_json: bool, address: str | None) -> None:
    """`gansweep resume`."""
    console = Console(stderr=as_json, markup=False)
    with _input_errors():
        paths = load_paths(sweep)
        spec = load_spec(paths.folder / paths.SPEC, overrides)
        if spec.root.resolve() != paths.folder.resolve():
            # The sweep's folder was moved or is mounted elsewhere: where it is now is where it goes on.
            spec = spec.model_copy(update={"storage": str(paths.folder.parent), "name": paths.folder.name})
        _check(spec, console, resuming=True)
        _run(spec, console, as_json=as_json, address=address)


def export(sweep: Path, trial: int | None, out: Path | None) -> None:
    """`gansweep export`."""
    with _input_errors():
        paths = load_paths(sweep)
        spec = load_spec(paths.folder / paths.SPEC)
        folder = export_best(paths, spec, trial, out)
    print(f"export: {folder}")
    print(f"pictures: {folder / 'samples.png'}")
    print(f"more: {_use_of(folder, spec)}")


def _check(spec: SweepSpec, console: Console, *, resuming: bool) -> None:
    with console.status("checking images, weights and storage"), warnings.catch_warnings(record=True) as caught:
        skipped = preflight(spec, Path(CACHE_DIR).expanduser(), resuming=resuming)
    for warning in caught:
        console.print(f"warning: {warning.message}")
    for name, reason in skipped:
        console.print(f"skipped image {name}: {reason}")


def _run(spec: SweepSpec, console: Console, *, as_json: bool, address: str | None) -> None:
    _quiet()
    if inside_job():
        # `gansweep stop` sends SIGINT, which whatever descends from a background process of a shell is born to ignore.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    paths = SweepPaths(spec.root)
    if address is None:
        # An embedded Ray would have this machine: what can never be placed on it is refused before Ray starts.
        plan(group_shape(spec), this_machine())
    console.print(f"sweep {spec.name}: {paths.folder}", soft_wrap=True)
    console.print(f"watch: tensorboard --logdir {_quoted(paths.tensorboard())}", soft_wrap=True)
    with connect(address, code=CODE if address else (), env_vars=TRAIN_ENVIRONMENT):
        if spec.evaluation_budget is not None:
            with console.status("measuring what training and evaluating cost"):
                spec, chosen = calibrated(spec, CACHE_DIR)
            console.print(f"evaluation: {chosen.explanation}", soft_wrap=True)
        outcome = run_sweep(spec, _progress_on(console))
        metric = sweep_metric(spec)
        console.print(table(outcome.records, metric))
        if outcome.interrupted:
            left = unfinished(outcome.records)
            console.print(f"interrupted; {len(left)} trials are unfinished. Go on: gansweep resume {_quoted(paths.folder)}")
            raise SystemExit(INTERRUPTED)
        if not outcome.records.ranking():
            fail("no trial reached an evaluation with a finite score; the reasons are in the table above", code=1)
        try:
            source = _finalists(spec, paths, outcome, console)
        except KeyboardInterrupt:
            console.print(f"interrupted while scoring finalists. Go on: gansweep resume {_quoted(paths.folder)}")
            raise SystemExit(INTERRUPTED) from None
    folder = export_best(paths, spec)
    if as_json:
        print_json(leaderboard(outcome.records, metric) | {"export": str(folder), "source": source})
    _show_result(spec, paths, outcome, folder, source, console)


def _finalists(spec: SweepSpec, paths: SweepPaths, outcome: Outcome, console: Console) -> dict[str, float] | None:
    """Scores finalists and source with a line for each; returns the source generator's values."""
    source = None
    if spec.finalists or spec.source:
        console.print("scoring the finalists" if spec.finalists else "scoring the source generator")
    for number, values in score_finalists(spec, paths, outcome.records, CACHE_DIR):
        name = "source generator" if number == SOURCE else f"trial {number}"
        for metric, value in values.items():
            console.print(f"  {name}: {metric} {shown(value)}", soft_wrap=True)
        if number == SOURCE:
            source = values
    return source


def _show_result(
    spec: SweepSpec, paths: SweepPaths, outcome: Outcome, folder: Path, source: dict[str, float] | None, console: Console
) -> None:
    best, metric = outcome.records.ranking()[0], sweep_metric(spec)
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
        ("pictures", pictures, f"xdg-open {_quoted(pictures)}"),
        ("generator", folder, _use_of(folder, spec)),
        ("TensorBoard", events, f"tensorboard --logdir {_quoted(events)}"),
        ("tables", paths.folder, f"ls {_quoted(paths.folder)}"),
    ):
        console.print(f"{name:<12} {path}\n{'':<12} {command}", soft_wrap=True)


def _use_of(export: Path, spec: SweepSpec) -> str:
    """The command that uses an export of this sweep."""
    if spec.task.name == "generation":
        return f"gansweep sample {_quoted(export)} --n 64 --out grid.png"
    return f"gansweep apply {_quoted(export)} PICTURE... --out DIR"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


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


@contextlib.contextmanager
def _input_errors() -> Iterator[None]:
    """One clear message and exit code 2 for what the user can mend."""
    try:
        yield
    except SpecError as error:
        fail(f"{counted(len(error.problems), 'problem')} to mend before anything starts:\n{error}")
    except (PlacementError, ClusterError, WeightsNotFoundError, InceptionWeightsNotFoundError, ValueError) as error:
        fail(error)


def _quiet() -> None:
    """Tune and Train say through our own display what matters; their logs would tear it."""
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def metrics(a: str, b: str, names: list[str], resolution: int | None, device: str, *, as_json: bool) -> None:
    """`gansweep metrics`."""
    console = Console(stderr=as_json, markup=False, highlight=False)
    with _input_errors(), bars(console) as progress:
        folder = Path(CACHE_DIR).expanduser()
        comparison = compare(a, b, metrics=names, resolution=resolution, cache_dir=folder, device=device, progress=progress)
    if as_json:
        print_json(comparison.as_json())
    else:
        show(comparison, console)


def submit(target: Path, address: str, overrides: list[str]) -> None:
    """`gansweep submit`: a spec starts a sweep, a sweep's folder goes on with it."""
    with _input_errors(), tempfile.TemporaryDirectory() as folder:
        if target.is_dir():
            paths = load_paths(target)
            name, command = paths.folder.name, ["resume", str(paths.folder)]
            command += [part for override in overrides for part in ("--set", override)]
        else:
            spec = load_spec(target, overrides)
            # Resolved here, so that relative paths mean what they mean beside the spec.
            (Path(folder) / "spec.yaml").write_bytes(dump_spec(spec))
            name, command = spec.name, ["run", "spec.yaml"]
        jobs = Jobs(address)
        job = jobs.submit(
            shlex.join(["python", "-m", "tuner.cli", *command, "--address", "auto"]),
            working_dir=Path(folder),
            code=CODE,
            env_vars=TRAIN_ENVIRONMENT,
            metadata={"gansweep": name},
        )
    at = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    print(f"job: {job}")
    for verb in ("status", "logs -f", "stop"):
        print(f"  gansweep {verb} {job}{at}")
