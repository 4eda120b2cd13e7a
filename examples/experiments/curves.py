"""Records whole learning curves of small trials on two data sets, for `gansweep simulate`.

The demo's sweep (emoji) and the small StyleGAN2's (digits), each with its own space, without early stopping: the same
configurations, drawn evenly, with several seeds. A sweep for each data set and seed, which is resumed where it was interrupted;
then one Parquet file for each data set. About 10 core-hours as it comes.

Run: python -m examples.experiments.curves [--configurations 60] [--seeds 3] [--folder FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from examples.experiments.pictures import write_digits
from search_spaces.dimensions import thaw
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook
from tuner.simulate.recorded import record
from tuner.simulate.synthetic import Draw
from tuner.spec import SweepSpec, dump_spec, load_spec

SPECS = {"emoji": Path("examples/twemoji/sweep.yaml"), "digits": Path("examples/stylegan2/digits.yaml")}
EMOJI = Path("examples/twemoji/images")


def spec_of(name: str, seed: int, configurations: int, folder: Path, changes: Sequence[str] = ()) -> SweepSpec:
    """The sweep of one data set and seed, written as ``folder/<name>.yaml``; its trials are the same with every seed."""
    fixed = ["scheduler={name: none}", "finalists=null", "budget.wall_minutes=null", "try_first=[]"]
    named = [f"name=curves-{name}-{seed}", f"storage={folder.resolve()}", f"seed={seed}", f"budget.trials={configurations}"]
    spec = load_spec(SPECS[name], [*fixed, *named, *changes])
    space, dice = spec.search_space(), np.random.default_rng(0)
    drawn = [{path: thaw(value) for path, value in space.suggest(Draw(dice)).items()} for _ in range(configurations)]
    data = yaml.safe_load(dump_spec(spec)) | {"try_first": drawn}
    file = folder / f"curves-{name}-{seed}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_spec(file)


def carry_out(spec: SweepSpec, folder: Path) -> None:
    """Runs a sweep, or what is left of it; nothing when all its trials have ended."""
    paths = SweepPaths(spec.root)
    begun = paths.storage.exists(paths.SPEC)
    if begun:
        records = RecordBook(paths.trials)
        if len(records) == spec.budget.trials and not records.unfinished():
            return
    what = ["resume", str(spec.root)] if begun else ["run", str(folder / f"{spec.name}.yaml")]
    subprocess.run([sys.executable, "-c", "from tuner.cli import main; main()", *what], check=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=SPECS, default=list(SPECS))
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="over the specs' values; repeatable")
    parser.add_argument("--folder", type=Path, default=Path("sweeps/curves"), help="where the sweeps are")
    parser.add_argument("--out", type=Path, default=Path("examples/experiments/recorded"), help="where the Parquet files go")
    chosen = parser.parse_args(arguments)
    if "digits" in chosen.data:
        write_digits(Path("examples/stylegan2/digits"))
    if "emoji" in chosen.data and not EMOJI.is_dir():
        subprocess.run([sys.executable, "examples/twemoji/images.py", str(EMOJI)], check=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.data:
        specs = [spec_of(name, seed, chosen.configurations, chosen.folder, chosen.set) for seed in range(chosen.seeds)]
        for spec in specs:
            carry_out(spec, chosen.folder)
        file = chosen.out / f"{name}.parquet"
        recording, left_out = record([spec.root for spec in specs], file)
        print(f"{file}: {recording.made_by}; left out: {left_out}", flush=True)


if __name__ == "__main__":
    main()
