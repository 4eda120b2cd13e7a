"""What ``--dry-run`` shows: the resolved spec, the space, example trials, and where they would run."""

from __future__ import annotations

from typing import Any

import optuna
import yaml
from rich import box
from rich.console import Console
from rich.table import Column, Table

from cluster.placement import PlacementPlan
from tuner.commands.terminal import print_json
from tuner.engine.searcher import sampler
from tuner.records.text import plain, show
from tuner.spec import SweepSpec
from tuner.spec.trial_config import trial_config

EXAMPLES = 5


def example_trials(spec: SweepSpec, count: int = EXAMPLES) -> list[dict[str, Any]]:
    """The searched values of the first trials; those after the sampler's start-up would learn from results."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    space, examples = spec.search_space(), []
    for values in spec.starts().values():
        study.enqueue_trial(space.params_of(values, partial=True))
    for number in range(min(max(count, len(spec.try_first)), spec.budget.trials)):
        study.sampler = sampler(spec.seed, number)
        values = space.suggest(study.ask())
        trial_config(spec.base, values)
        examples.append(values)
    return examples


def show_plan(spec: SweepSpec, placement: PlacementPlan, console: Console, *, as_json: bool) -> None:
    """Prints the plan of a sweep that is not run."""
    resolved, rows, examples = spec.model_dump(mode="json"), spec.search_space().describe(), example_trials(spec)
    if as_json:
        print_json(
            {
                "spec": resolved,
                "space": [row._asdict() for row in rows],
                "example_trials": [{path: plain(value) for path, value in values.items()} for values in examples],
                "placement": placement.describe(),
            }
        )
        return
    console.rule("spec, resolved", align="left")
    console.print(yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True), soft_wrap=True)
    console.rule("search space", align="left")
    if rows:
        view = Table(*(Column(name, overflow="fold") for name in ("searched", "range", "when")), box=box.SIMPLE_HEAD)
        for row in rows:
            view.add_row(row.path, row.range, row.when)
        console.print(view)
        console.rule("example trials", align="left")
        view = Table.grid(padding=(0, 2))
        for number, values in enumerate(examples):
            view.add_row(f"trial {number}", "  ".join(f"{path}={show(value)}" for path, value in values.items()))
        console.print(view)
    else:
        console.print("none: one trial of the recipe above")
    console.rule("placement", align="left")
    console.print("\n".join(placement.describe()))
