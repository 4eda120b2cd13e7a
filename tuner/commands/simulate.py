"""``gansweep simulate``: how a search would go, ours beside those of Ray Tune and Optuna; and recording what it goes over."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, progress on standard error.")]


class _RunByDefault(TyperGroup):
    """``simulate SPEC`` is ``simulate run SPEC``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "-h")):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(cls=_RunByDefault, add_completion=False)


@app.command()
def run(
    what: Annotated[
        Path | None,
        typer.Argument(help="A sweep's YAML file, or curves that record has written; a made-up sweep when left out."),
    ] = None,
    workers: Annotated[list[int] | None, typer.Option(min=1, help="Worker groups; repeatable. [default: 6]")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often, with other seeds.")] = 20,
    trainings: Annotated[
        float | None, typer.Option(min=1, help="Budget, in whole trainings; the spec's trials, or 54, when left out.")
    ] = None,
    curves: Annotated[Path | None, typer.Option(help="For a spec: recorded curves; made-up ones when left out.")] = None,
    target: Annotated[float | None, typer.Option(help="The score to reach; one that few do when left out.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only methods whose name has this in it; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a sweep: when it finds a good trial, beside random search, Ray Tune and Optuna (the word run may be left out)."""
    from tuner.commands.input_errors import input_errors
    from tuner.commands.terminal import bars, fail, print_json
    from tuner.simulate.baselines import BASELINES
    from tuner.simulate.cases import cases
    from tuner.simulate.comparison import OURS, compare
    from tuner.simulate.methods import Ours

    console = Console(stderr=as_json, markup=False, highlight=False)
    methods = {OURS: Ours, **BASELINES}
    chosen = {name: make for name, make in methods.items() if not method or any(part in name for part in method)}
    if not chosen:
        fail(f"no method has {' or '.join(method or ())} in its name; there are: {'; '.join(methods)}")
    results = []
    with input_errors():
        simulated = cases(what, curves, trainings, target)
        console.print(simulated.about, soft_wrap=True)
        for groups in workers or [6]:
            with bars(console) as progress:
                rows = compare(simulated.of_seed, chosen, groups, seeds, functools.partial(progress, f"{groups} groups"))
            results.append({"workers": groups, "methods": rows})
            if not as_json:
                console.print(_table(results[-1], seeds))
    basis = simulated.basis()
    console.print(basis, soft_wrap=True)
    if as_json:
        print_json({"about": simulated.about, "basis": basis, "seeds": seeds, "results": results})


@app.command()
def record(
    sweeps: Annotated[list[Path], typer.Argument(help="Finished sweeps of one space, run with scheduler: {name: none}.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
) -> None:
    """Write the learning curves of finished sweeps as a Parquet file to simulate with."""
    from tuner.commands.input_errors import input_errors
    from tuner.simulate.cases import error_of
    from tuner.simulate.recorded import RecordedCurves
    from tuner.simulate.recorded import record as recorded

    console = Console(markup=False, highlight=False)
    with input_errors():
        recording, left_out = recorded(sweeps, out)
    console.print(f"{out}: {recording.made_by}, {recording.evaluations} evaluations each, {out.stat().st_size / 1024:.0f} KiB")
    if left_out:
        console.print(f"left out: {left_out} trials that a rule stopped, that are unfinished, or whose configuration cannot run")
    console.print(error_of(RecordedCurves(recording)), soft_wrap=True)


def _table(result: dict[str, Any], seeds: int) -> Table:
    """A row for each method."""
    from tuner.simulate.comparison import REFERENCES

    view = Table(
        box=box.SIMPLE_HEAD, title=f"{result['workers']} worker groups, {seeds} seeds: median (quartiles)", title_justify="left"
    )
    for heading in ("", "time to target", "reached", "best score", "trials", "winner's share", "× random", "× Ray"):
        view.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for row in result["methods"]:
        ratios = [row["times_faster_than"].get(name) for name in REFERENCES]
        view.add_row(
            row["method"],
            _spread(row["time_to_target"], 0),
            f"{row['reached']}",
            _spread(row["best"], 1),
            f"{row['trials']:.0f}",
            f"{100 * row['winner_share']:.0f} %",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        )
    return view


def _spread(values: list[float | None], digits: int) -> str:
    low, median, high = ("never" if value is None else f"{value:.{digits}f}" for value in values)
    return f"{median} ({low}–{high})"
