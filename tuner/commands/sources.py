"""``gansweep sources SPEC``: which of a spec's sources suits its pictures best, before anything is trained."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainables.backbones import BACKBONES
from trainables.data import load_dataset
from trainables.metrics import MetricName, parse_metric
from trainables.source import architecture_of
from trainables.source_ranking import RankedSource, rank_sources, ranking_metrics
from trainables.tasks import TASKS
from tuner.commands.input_errors import input_errors
from tuner.commands.terminal import bars, print_json
from tuner.records.paths import cache_dir
from tuner.records.text import shown
from tuner.spec import SweepSpec, load_spec
from tuner.spec.problems import Problem


def run(file: Path, overrides: list[str], metric: str | None, device: str, *, as_json: bool) -> None:
    """`gansweep sources`."""
    console = Console(stderr=as_json, markup=False, highlight=False)
    with input_errors(), bars(console) as progress:
        spec = load_spec(file, overrides)
        if problems := _problems(spec):
            raise spec.error(problems)
        by = spec.metric if metric is None else parse_metric(metric, BACKBONES)
        assert isinstance(by, MetricName)
        folder = Path(cache_dir()).expanduser()
        target = load_dataset(spec.data, folder)
        ranking = rank_sources(spec.sources, by, target, cache_dir=folder, device=device, progress=progress)
    if as_json:
        print_json({"data": spec.data.path, "images": target.count, "sources": [one.as_json() for one in ranking]})
    else:
        show(ranking, by, console)
    if any(one.problem for one in ranking):
        raise SystemExit(1)


def can_be_ranked(spec: SweepSpec) -> bool:
    """Whether generators start from noise, so that a source has samples of its own."""
    return TASKS[spec.task.name].in_channels == 0 and isinstance(spec.metric, MetricName)


def show(ranking: list[RankedSource], metric: MetricName, console: Console) -> None:
    """A table for people, best first, and a line for each source that is not in it."""
    names = ranking_metrics(metric)
    caption = f"[{metric.extractor},{metric.size_px}px-{metric.filter},n={names[0].n}]"
    view = Table(box=box.SIMPLE, title="sources, best first by recall of the target pictures", caption=Text(caption))
    view.add_column("source", overflow="fold")
    for column in ("px", *(name.kind for name in names)):
        view.add_column(column, justify="right", no_wrap=True)
    for one in ranking:
        if one.problem is None:
            view.add_row(Text(one.source), str(one.resolution), *(shown(one.values[str(name)]) for name in names))
    console.print(view)
    for one in ranking:
        if one.problem is not None:
            console.print(f"not ranked: {one.problem}", soft_wrap=True)


def _problems(spec: SweepSpec) -> list[Problem]:
    if not spec.sources:
        return [Problem("source", "must name what is to be ranked: a file, or {choice: [...]} of several, but it is not given")]
    if not can_be_ranked(spec):
        rule = "sources are ranked by what they make of noise, but the task"
        return [Problem("task", f"{rule} {spec.task.name!r} starts from pictures")]
    problems = []
    for source in spec.sources:
        try:
            architecture_of(source)
        except ValueError as error:
            problems.append(Problem("source", str(error)))
    return problems
