"""One change at a time to how gansweep searches, judged by the simulator: the table of docs/search.md.

Each arm is the engine's own searcher and rule with one thing different; what is not in the product lives here. On the synthetic
sweep (`tuner.simulate.synthetic.made_up`), or on recorded curves.

Run: python -m examples.experiments.search [ARM ...] [--workers 6] [--seeds 20] [--curves FILE]
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from examples.experiments.search_priors import WithPrior, recipe_of
from tuner.engine.proposals import Proposal, Proposals
from tuner.schedulers import SuccessiveHalving
from tuner.simulate.cases import cases
from tuner.simulate.comparison import Row, faster, quartiles
from tuner.simulate.methods import Ours
from tuner.simulate.setting import Config, MakeMethod, Setting
from tuner.simulate.simulation import Simulation

TODAY = "as it is"


def with_rungs(first: float, factor: float = 3) -> MakeMethod:
    """Other rungs: the first at this part of a trial."""

    def make(setting: Setting, seed: int, clock: Callable[[], float]) -> Ours:
        rule = SuccessiveHalving.Options(grace_kimg=first * setting.kimg, reduction_factor=factor)
        return Ours(replace(setting, scheduler=rule), seed, clock)

    return make


class Patient(SuccessiveHalving):
    """Also stops a trial whose best score is ``patience`` evaluations old."""

    patience = 6

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._since: dict[int, tuple[float, int]] = {}

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        best, age = self._since.get(number, (math.inf, 0))
        self._since[number] = (score_best, 0) if score_best < best else (best, age + 1)
        reason = super().decide(number, kimg, score_best)
        return reason or (f"no better for {self.patience} evaluations" if self._since[number][1] >= self.patience else None)


class Lenient(SuccessiveHalving):
    """Goes on within some standard errors of the last survivor's score."""

    errors = 1.0
    relative = 0.06  # the synthetic curves' noise

    def decide(self, number: int, kimg: float, score_best: float) -> str | None:
        if (reason := super().decide(number, kimg, score_best)) is None:
            return None
        ordered = next(
            ordered for (_, values), ordered in zip(self.rungs[::-1], self._ordered[::-1], strict=True) if number in values
        )
        last = ordered[max(1, math.floor(len(ordered) / self.reduction_factor)) - 1]
        if score_best > last * (1 + self.errors * self.relative):
            return reason
        del self.stopped[number]
        return None


def with_rule(kind: type[SuccessiveHalving], **changes: Any) -> MakeMethod:
    """Another rule in the place of halving."""
    changed = type(kind.__name__, (kind,), changes)

    class Changed(Ours):
        def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
            super().__init__(setting, seed, clock)
            self.rule = changed(setting.scheduler, setting.kimg, setting.metric)

    return Changed


class Pausing(Proposals):
    """Keeps paused trials until they are resumed; TPE may be shown them as PRUNED."""

    shown = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.paused: dict[int, int] = {}

    def pause(self, number: int) -> None:
        self.paused[number] = self._open.pop(number)

    def resume(self, number: int) -> Proposal | None:
        self._again.append(self.paused.pop(number))
        return super().suggest()

    def suggest(self) -> Proposal | None:
        trials = self.study.get_trials(deepcopy=False)
        hidden = [trials[number] for number in self.paused] if self.shown else []
        for frozen in hidden:  # of the storage in memory these are the trials themselves
            frozen.state = TrialState.PRUNED
        try:
            return super().suggest()
        finally:
            for frozen in hidden:
                frozen.state = TrialState.RUNNING


class Promoting(Ours):
    """Asynchronous halving that pauses at each rung and takes up the best 1/η of it when a group is free (Li et al. 2020)."""

    shown = True

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        super().__init__(setting, seed, clock)
        kind = type("Shown", (Pausing,), {"shown": self.shown})
        own = self.proposals
        self.proposals = kind(
            own.study, own.space, own.trials, seed, self.records, configure=dict, starts=setting.starts, clock=clock
        )
        self.promoted: list[set[int]] = [set() for _ in self.rule.rungs]

    def suggest(self) -> tuple[int, Config] | None:
        for place in reversed(range(len(self.rule.rungs))):
            values = self.rule.rungs[place][1]
            best = sorted(values, key=lambda number: values[number])[: math.floor(len(values) / self.rule.reduction_factor)]
            for number in best:
                if number in self.proposals.paused and number not in self.promoted[place]:
                    if any(number in later[1] for later in self.rule.rungs[place + 1 :]):
                        continue
                    self.promoted[place].add(number)
                    proposal = self.proposals.resume(number)
                    assert proposal is not None
                    return number, proposal.config
        return super().suggest()

    def report(self, report: dict[str, Any]) -> bool:
        number = report["number"]
        self.records.report(report)
        self.proposals.on_report(number, report)
        if report["problem"] or report["last"]:
            return self._ended(report)
        for rung, values in self.rule.rungs:
            if report["kimg"] >= rung * (1 - 1e-9) and number not in values:
                values[number] = report["score_best"]
                self.proposals.pause(number)
                return False
        return True

    def _ended(self, report: dict[str, Any]) -> bool:
        from tuner.schedulers.verdict import verdict

        decided = verdict(_Nobody(), report)
        self.records.end(report["number"], decided.state, decided.reason, decided.fault)
        self.proposals.on_end(report["number"])
        return False


class PromotingUnseen(Promoting):
    """The same with paused trials RUNNING in TPE's eyes."""

    shown = False


class TopK(Promoting):
    """One rung by TPE, then the best K to their ends; half of the budget for each."""

    def __init__(self, setting: Setting, seed: int, clock: Callable[[], float]) -> None:
        grace = setting.scheduler.grace_kimg
        self.few = max(1, math.ceil(setting.total_kimg / 2 / (setting.kimg - grace)))
        many = round(setting.total_kimg / 2 / grace)
        super().__init__(replace(setting, trials=many), seed, clock)
        del self.rule.rungs[1:]
        self.many, self.chosen = many, list[int]()

    def suggest(self) -> tuple[int, Config] | None:
        values = self.rule.rungs[0][1]
        if not self.proposals.exhausted:
            return Ours.suggest(self)
        if len(values) < self.many:
            return None
        if not self.promoted[0]:
            self.chosen = sorted(values, key=lambda number: values[number])[: self.few]
            self.promoted[0] = set(self.chosen)
        if not self.chosen:
            return None
        proposal = self.proposals.resume(number := self.chosen.pop(0))
        return (number, proposal.config) if proposal is not None else None


class _Nobody:
    def decide(self, number: int, kimg: float, score_best: float) -> None:
        return None


Arm = Callable[[Any, Setting], MakeMethod]
"""(curves, setting) → a method."""


def _first(quantile: float) -> Arm:
    def arm(curves: Any, setting: Setting) -> MakeMethod:
        starts = {"recipe": recipe_of(curves, quantile)}
        return lambda setting, seed, clock: Ours(replace(setting, starts=starts), seed, clock)

    return arm


def _prior(quantile: float) -> Arm:
    def arm(curves: Any, setting: Setting) -> MakeMethod:
        recipe = recipe_of(curves, quantile)
        kind = type("WithThisPrior", (WithPrior,), {"recipe": recipe})
        return lambda setting, seed, clock: kind(replace(setting, starts={"recipe": recipe}), seed, clock)

    return arm


ARMS: Mapping[str, MakeMethod | Arm] = {
    TODAY: Ours,
    "first rung at 1/27": with_rungs(1 / 27),
    "eta 4, rungs 2/27 and 8/27": with_rungs(2 / 27, 4),
    "eta 2": with_rungs(1 / 9, 2),
    "promotion, paused are RUNNING": PromotingUnseen,
    "promotion, paused are PRUNED": Promoting,
    "top K by TPE": TopK,
    "patience 3": with_rule(Patient, patience=3),
    "patience 6": with_rule(Patient, patience=6),
    "half a standard error": with_rule(Lenient, errors=0.5),
    "one standard error": with_rule(Lenient, errors=1.0),
    "good recipe first": _first(0.1),
    "good recipe first and as prior": _prior(0.1),
    "bad recipe first": _first(0.9),
    "bad recipe first and as prior": _prior(0.9),
}
_ON_SYNTHETIC = {name for name in ARMS if "recipe" in name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", help=f"of: {'; '.join(ARMS)}; all when left out")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=float)
    parser.add_argument("--curves", type=Path, help="recorded ones; synthetic when left out")
    parser.add_argument("--out", type=Path, help="a JSON file for each seed's numbers")
    chosen = parser.parse_args()
    if unknown := set(chosen.arms) - set(ARMS):
        parser.error(f"no such arm: {', '.join(unknown)}")
    simulated = cases(chosen.curves, trainings=chosen.trainings)
    print(f"{simulated.about}\n{chosen.workers} groups, {chosen.seeds} seeds: median (quartiles)\n")
    print("| | time to target | reached | best score | trials | times as fast | sooner : later | better : worse |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    names = [name for name in ARMS if not chosen.arms or name in chosen.arms or name == TODAY]
    today: Row | None = None
    rows = []
    for name in names:
        row = Row(name)
        for seed in range(chosen.seeds):
            case = simulated.of_seed(seed)
            make: Any = ARMS[name](case.curves, case.setting) if name in _ON_SYNTHETIC else ARMS[name]  # type: ignore[operator]
            outcome = Simulation(case.curves, chosen.workers, seed, setting=case.setting, make=make, costs=case.costs).run()
            row.add(outcome, case.target)
        today = today or row
        rows.append(row)
        print(line(row, today), flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps([row.as_json([]) for row in rows], indent=1))


def line(row: Row, today: Row) -> str:
    """A row of the table, with its seeds compared one by one with ``today``'s."""

    def spread(values: list[float], digits: int) -> str:
        low, median, high = (f"{value:.{digits}f}" if math.isfinite(value) else "never" for value in quartiles(values))
        return f"{median} ({low}–{high})"

    def won(own: list[float], other: list[float]) -> str:
        return f"{sum(a < b for a, b in zip(own, other, strict=True))} : {sum(a > b for a, b in zip(own, other, strict=True))}"

    cells = [
        row.name, spread(row.times, 0), f"{sum(map(math.isfinite, row.times))}", spread(row.bests, 1),
        f"{quartiles(row.trials)[1]:.0f}", f"{faster(row, today):.2f}", won(row.times, today.times), won(row.bests, today.bests),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
