"""``gansweep data check`` and ``gansweep data pack``: pictures looked at, and packed, before a sweep asks for them.

Neither imports Ray or Optuna, so that they start fast and run where no sweep does.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.commands.terminal import INTERRUPTED, bars, counted, errors, fail, print_json

if TYPE_CHECKING:
    from trainables.data import DataOptions, DataReport

app = typer.Typer(no_args_is_help=True)

_NAMED_GROUPS = 20

Where = Annotated[str, typer.Argument(help="A folder, archive or Parquet file; local, a URI, or package:NAME/FOLDER.")]
Include = Annotated[str | None, typer.Option(help="Take only pictures that match these globs, joined by |.")]
Column = Annotated[str | None, typer.Option(help="Parquet: the column of image bytes; found when left out.")]


@app.command()
def check(
    path: Where,
    resolution: Annotated[int, typer.Option(help="Side in pixels that pictures will have; smaller ones are counted.")] = 64,
    include: Include = None,
    column: Column = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, progress on standard error.")] = False,
) -> None:
    """Decode every picture and say what is there. Exit code 1: some cannot be used, and are named."""
    from trainables.data import check_data

    options = _options(path=path, resolution=resolution, include=include, column=column)
    console = Console(stderr=as_json, markup=False, highlight=False)
    with _ends(), bars(console) as progress:
        report = check_data(options, functools.partial(progress, "checking"))
    if not report.count and not report.bad_files:
        fail(str(report.problem))
    if as_json:
        print_json({"path": path, "resolution": resolution} | asdict(report))
    else:
        show(report, options, console)
    if report.bad_files:
        raise SystemExit(1)


@app.command()
def pack(
    path: Where,
    resolution: Annotated[int, typer.Option(help="Side in pixels, as data.resolution of the spec.")],
    include: Include = None,
    column: Column = None,
    background: Annotated[str, typer.Option(help="As data.background of the spec.")] = "white",
    on_bad_image: Annotated[str, typer.Option(help="fail or skip, as data.on_bad_image of the spec.")] = "fail",
    crop: Annotated[str, typer.Option(help="square or native, as data.crop of the spec.")] = "square",
    out: Annotated[Path | None, typer.Option(help="Cache folder; that of sweeps on this machine when left out.")] = None,
) -> None:
    """Build the packed cache of a sweep with these pictures now, so that the sweep starts at once."""
    from trainables.data.packing import array_name, load_packed
    from tuner.records.paths import cache_dir

    options = _options(
        path=path,
        resolution=resolution,
        crop=crop,
        include=include,
        column=column,
        background=background,
        on_bad_image=on_bad_image,
    )
    folder = Path(cache_dir() if out is None else out).expanduser().absolute()
    console = Console(markup=False, highlight=False, soft_wrap=True)
    started, packed = time.monotonic(), 0
    try:
        with _ends(), bars(console) as progress:

            def packing(done: int, total: int | None) -> None:
                nonlocal packed
                packed = done
                progress("packing", done, total)

            index, pictures = load_packed(options, folder, packing)
    except OSError as error:
        fail(f"the packed pictures cannot be written to {folder}: {error}", code=1)
    seconds = time.monotonic() - started
    for name, reason in index.skipped:
        console.print(f"skipped {name}: {reason}")
    shape = f"{resolution} x {resolution} pixels" if index.sizes is None else "their own sizes"
    size = f"{len(index.names)} pictures of {shape}, {pictures.nbytes / 1e6:.1f} MB"
    console.print(f"{size}, {f'packed in {seconds:.1f} s' if packed else 'packed here before'}")
    console.print(f"file: {folder / array_name(index)}")
    if out is not None:
        console.print(f"a sweep uses it with GANSWEEP_CACHE={folder}")


def show(report: DataReport, options: DataOptions, console: Console) -> None:
    """The report as tables."""
    facts = Table(box=box.SIMPLE, show_header=False, title=Text(options.path))
    facts.add_column(no_wrap=True)
    facts.add_column()
    facts.add_row("pictures", str(report.count))
    if report.count:
        facts.add_row("sizes", f"{_by(report.smallest)} to {_by(report.largest)} pixels")
        facts.add_row("formats", _counts(report.formats))
        facts.add_row("modes", _counts(report.modes))
        facts.add_row(f"smaller than {options.resolution} px", f"{report.enlarged}{' (enlarged)' if report.enlarged else ''}")
        facts.add_row("near-duplicates", counted(len(report.near_duplicates), "group"))
    facts.add_row("cannot be used", str(len(report.bad_files)))
    console.print(facts)
    if report.near_duplicates:
        groups = Table(box=box.SIMPLE, title="near-duplicates")
        groups.add_column("pictures that are almost the same", overflow="fold")
        for group in report.near_duplicates[:_NAMED_GROUPS]:
            groups.add_row(Text(", ".join(group)))
        console.print(groups)
        if len(report.near_duplicates) > _NAMED_GROUPS:
            console.print(f"and {counted(len(report.near_duplicates) - _NAMED_GROUPS, 'group')} more; all are in --json")
    if report.bad_files:
        broken = Table(box=box.SIMPLE, title="broken files")
        broken.add_column("file", overflow="fold")
        broken.add_column("why it cannot be used", overflow="fold")
        for name, reason in report.bad_files:
            broken.add_row(Text(name), Text(reason))
        console.print(broken)


def _options(**fields: Any) -> DataOptions:
    """The options, or one message for each that is wrong and exit code 2."""
    from pydantic import ValidationError

    from trainables.data import DataOptions

    try:
        return DataOptions.model_validate(fields)
    except ValidationError as error:
        # Options of the command are named as in a spec, with dashes.
        wrong = ((str(problem["loc"][0]), problem["msg"].removeprefix("Value error, ")) for problem in error.errors())
        return fail("\n".join(f"--{name.replace('_', '-')} {fields[name]!r}: {message}" for name, message in wrong))


@contextmanager
def _ends() -> Iterator[None]:
    """The exit codes of bad input and of Ctrl-C."""
    from trainables.data import DataError

    try:
        yield
    except DataError as error:
        fail(error, code=1 if error.bad_files else 2)
    except KeyboardInterrupt:
        errors.print("interrupted; nothing was left behind")
        raise SystemExit(INTERRUPTED) from None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
