"""What can be simulated: a made-up sweep, a spec over made-up curves, recorded curves with or without a spec."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.config import EvaluationOptions
from tuner.schedulers import SuccessiveHalving
from tuner.simulate.recorded import RecordedCurves, Recording
from tuner.simulate.setting import Costs, Curves, Setting, in_evaluations
from tuner.simulate.synthetic import TARGET, SyntheticCurves, made_up
from tuner.spec import SweepSpec, load_spec

TRAININGS = 54.0
_FEW = 0.05  # of all recorded configurations reach the target


@dataclass(frozen=True)
class Case:
    """What one seed is run on."""

    curves: Curves
    setting: Setting
    costs: Costs
    target: float  # a score worth finding


@dataclass(frozen=True)
class Cases:
    """What all seeds are run on.

    Args:
        about: for people: the curves, the budget, the unit of time.
        basis: what the result rests on, for people, when all is done.
    """

    of_seed: Callable[[int], Case]
    about: str
    basis: Callable[[], str]


def cases(
    what: Path | None = None, curves: Path | None = None, trainings: float | None = None, target: float | None = None
) -> Cases:
    """Chooses what is simulated.

    Args:
        what: a spec, recorded curves (``.parquet``), or nothing for a made-up sweep.
        curves: recorded curves for a spec; made-up ones when left out.
        trainings: the budget in whole trainings; the spec's trials, or 54, when left out.
        target: a score; one that few configurations reach when left out.

    Raises:
        ValueError: the curves were recorded in another space than the spec's, or a file is neither.
    """
    spec = load_spec(what) if what is not None and what.suffix != ".parquet" else None
    file = curves if spec is not None else what
    budget = trainings or (spec.budget.trials if spec is not None else TRAININGS)
    if file is not None:
        recorded = RecordedCurves(Recording.read(file))
        if spec is not None and spec.search_space() != recorded.space:
            raise ValueError(f"{file} was recorded in another space than that of {what}")
        return _recorded(recorded, spec, budget, target)
    if spec is not None:
        return _made_up(functools.partial(_of_spec, spec, budget), f"the space of {what}", budget, target)
    return _made_up(functools.partial(made_up, trainings=budget), "the space few_shot_generation", budget, target)


def _made_up(
    make: Callable[[int], tuple[SyntheticCurves, Setting, Costs]], space: str, budget: float, target: float | None
) -> Cases:
    wanted = TARGET if target is None else target
    about = f"synthetic curves, made up, over {space}, another landscape for each seed; target {wanted:g}; {_budget(budget)}; "
    return Cases(
        lambda seed: Case(*make(seed), wanted),
        about + "time in evaluations",
        lambda: "all curves are synthetic: they say nothing of GANs",
    )


def _of_spec(spec: SweepSpec, budget: float, seed: int) -> tuple[SyntheticCurves, Setting, Costs]:
    every = EvaluationOptions.model_validate(spec.base["evaluation"]).every_kimg
    evaluations = max(1, math.floor(spec.budget.kimg / every + 1e-9))
    curves = SyntheticCurves(spec.search_space(), seed, evaluations, every)
    return curves, _setting(spec, evaluations * every, budget), in_evaluations()


def _recorded(curves: RecordedCurves, spec: SweepSpec | None, budget: float, target: float | None) -> Cases:
    recording = curves.recording
    kimg = recording.kimg * recording.evaluations
    if spec is None:
        rule = SuccessiveHalving.Options(grace_kimg=kimg / 9)
        setting = Setting(space=curves.space, kimg=kimg, total_kimg=budget * kimg, scheduler=rule)
    else:
        setting = _setting(spec, kimg, budget)
    wanted = curves.target(_FEW) if target is None else target
    case = Case(curves, setting, Costs(report_s=curves.report_s), wanted)

    def basis() -> str:
        asked = f"{curves.recorded} of {curves.asked} simulated trials were recorded ones, the others are the surrogate's"
        return f"{asked}; {error_of(curves)}"

    about = f"recorded curves: {recording.made_by}; {recording.metric}; target {wanted:g}; {_budget(budget)}; time in seconds"
    return Cases(lambda seed: case, about, basis)


def _setting(spec: SweepSpec, kimg: float, budget: float) -> Setting:
    setting = Setting(space=spec.search_space(), kimg=kimg, total_kimg=budget * kimg, scheduler=spec.scheduler)
    return replace(setting, starts=spec.starts(), metric=spec.metric)


def _budget(budget: float) -> str:
    return f"budget {budget:g} whole trainings"


def error_of(curves: RecordedCurves) -> str:
    """The surrogate's error, for people."""
    if len(curves.configs) < 3:
        return f"too few configurations ({len(curves.configs)}) to say how good the surrogate is"
    error, rank = curves.error()
    return (
        f"surrogate (nearest neighbours), each configuration predicted by the others: median error {100 * error:.0f} %, "
        f"rank correlation {rank:.2f}, over {len(curves.configs)} configurations"
    )
