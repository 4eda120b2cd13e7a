"""``gansweep export``: the best generator as a folder."""

from __future__ import annotations

from pathlib import Path

from tuner.commands.input_errors import input_errors
from tuner.commands.use import use_of
from tuner.finish.export import export_best
from tuner.records.paths import load_paths
from tuner.spec import load_spec


def run(sweep: Path, trial: int | None, out: Path | None) -> None:
    """`gansweep export`."""
    with input_errors():
        paths = load_paths(sweep)
        spec = load_spec(paths.folder / paths.SPEC)
        folder = export_best(paths, spec, trial, out)
    print(f"export: {folder}")
    print(f"pictures: {folder / 'samples.png'}")
    print(f"more: {use_of(folder, spec)}")
