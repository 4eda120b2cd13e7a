"""Carries out the training runs of an experiment in worker processes, keeps each result, and writes tables into the docs.

A result is a line of a JSON lines file under its run's key, a hash of all that decides the outcome. So an interrupted experiment
goes on where it was, and a changed setting runs anew. No Ray: a run is a `GanTrainer` and a `TrialEvaluator`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torchvision.utils import save_image

from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import DataOptions
from trainables.evaluation import FixedInputs, Pictures, TrialEvaluator, load_pictures
from trainables.gan import GanTrainer
from trainables.networks import build_task

CPU = torch.device("cpu")
SHOWN = 12  # pictures of the averaged generator that are kept of each run


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: ``arm`` is what is compared, ``data_name`` on what, ``config.seed`` which repetition."""

    data_name: str
    arm: str
    config: TrialConfig
    data: DataOptions

    @property
    def key(self) -> str:
        """Equal for runs that must come out equal."""
        settings = [self.config.model_dump(mode="json"), self.data.model_dump(mode="json")]
        if self.config.source:  # what it holds, whatever it held when it had this name before
            settings.append({"source": hashlib.sha256(Path(self.config.source).read_bytes()).hexdigest()})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


Result = dict[str, Any]
"""``key``, ``data_name``, ``arm``, ``seed``; ``curve``: [kimg, {metric: value}] of each evaluation."""


def arguments(description: str, kimg: float) -> argparse.ArgumentParser:
    """What every experiment can be told; ``kimg`` is the default length of a run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kimg", type=float, default=kimg)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="0 writes the tables of what has been run so far")
    # Relative to the repository's root, so that a run's key is the same in every copy of it.
    parser.add_argument("--folder", type=Path, default=Path("sweeps/experiments"))
    parser.add_argument("--page", type=Path, default=Path("docs/experiments.md"))
    return parser


def carry_out(run: Run, folder: Path) -> Result:
    """Trains and evaluates on one thread; keeps pictures of the averaged generator, and of the fixed inputs' targets."""
    torch.set_num_threads(1)
    config, cache = run.config, folder / "cache"
    pictures = load_pictures(config.task, run.data, str(cache))
    trainer = GanTrainer(config, pictures.train, style=pictures.style)
    inputs = FixedInputs(trainer.task, pictures, trainer.z_dim, CPU)
    evaluator = TrialEvaluator(config.evaluation.names, inputs, cache_dir=str(cache), collective=Collective())
    curve = []
    for step in config.evaluation_steps():
        while trainer.step_index < step:
            trainer.step()
        curve.append([trainer.kimg, evaluator(trainer.sample)])
    shown, columns = inputs.preview(trainer.sample, SHOWN)
    (folder / "pictures").mkdir(exist_ok=True)
    save_image(shown, folder / "pictures" / f"{run.key}.png", nrow=max(columns, SHOWN), normalize=True, value_range=(-1, 1))
    return {"key": run.key, "data_name": run.data_name, "arm": run.arm, "seed": config.seed, "curve": curve}


def carry_out_all(runs: Sequence[Run], folder: Path, processes: int = 2) -> list[Result]:
    """The results of ``runs``, in their order; those not yet in ``folder/results.jsonl`` are carried out first.

    With no ``processes`` nothing is carried out, and the results are those there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.jsonl"
    known = {result["key"]: result for result in _read(file)}
    missing = {run.key: run for run in runs if run.key not in known} if processes else {}
    for run in {(run.config.task, run.data): run for run in missing.values()}.values():
        load_pictures(run.config.task, run.data, str(folder / "cache"))  # packed here, so that no process waits for another
    with ProcessPoolExecutor(max(processes, 1), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(carry_out, run, folder) for run in missing.values()]
        for count, future in enumerate(as_completed(futures), start=1):
            result = future.result()
            known[result["key"]] = result
            with file.open("a") as lines:
                lines.write(json.dumps(result) + "\n")
            last = "  ".join(f"{name} {value:.2f}" for name, value in result["curve"][-1][1].items())
            print(f"{count}/{len(missing)}  {result['data_name']}: {result['arm']}, seed {result['seed']}: {last}", flush=True)
    return [known[run.key] | {"arm": run.arm, "data_name": run.data_name} for run in runs if run.key in known]


def _read(file: Path) -> Iterable[Result]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def of_baseline(config: TrialConfig, data: DataOptions, folder: Path) -> dict[str, float]:
    """The metrics of the task's own baseline, which needs no training."""
    task = build_task(config.task, config.resolution)
    pictures: Pictures = load_pictures(config.task, data, str(folder / "cache"))
    inputs = FixedInputs(task, pictures, 0, CPU)
    evaluator = TrialEvaluator(config.evaluation.names, inputs, cache_dir=str(folder / "cache"), collective=Collective())
    return evaluator(task.baseline)


def value(result: Result, kind: str, evaluation: int = -1) -> float:
    """The value of the metric of this kind, at the end of the run or at an earlier evaluation."""
    return next(value for name, value in result["curve"][evaluation][1].items() if name.startswith(f"{kind}["))


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; a single value alone.

    >>> mean_and_spread([1.0, 2.0, 3.0], 1)
    '2.0 ± 1.0'
    """
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table(rows: Iterable[tuple[str, Sequence[Result]]], columns: dict[str, Callable[[Sequence[Result]], str]]) -> str:
    """A Markdown table: a row for each arm, a column for each function of its results over seeds."""
    lines = [f"| | n | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    lines += [f"| {arm} | {len(found)} | {' | '.join(of(found) for of in columns.values())} |" for arm, found in rows]
    return "\n".join(lines)


def by_arm(results: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    """Results of one data set grouped by arm, in order of appearance."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result["arm"], []).append(result)
    return list(groups.items())


def write_section(page: Path, name: str, text: str) -> None:
    """Puts ``text`` between the page's ``<!-- name -->`` and ``<!-- end of name -->``.

    Raises:
        ValueError: the page has no such marks.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    content = page.read_text()
    if start not in content or end not in content:
        raise ValueError(f"{page} must hold the lines {start.strip()!r} and {end!r}, between which the results go")
    before, rest = content.split(start, 1)
    page.write_text(before + start + text.strip() + "\n" + end + rest.split(end, 1)[1])
