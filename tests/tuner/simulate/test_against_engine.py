"""The simulator decides what the engine decides: on what a real sweep on Ray has left, and on what Tune's searcher and scheduler
are shown in the order in which Tune shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna.storages import JournalStorage
from ray.tune.schedulers import TrialScheduler

from search_spaces.space import Space
from tests.tuner.engine.test_scheduler import Sweep as Driver
from tests.tuner.sweeps import HALVING, State, small_spec
from tuner.engine.journal import SweepJournal
from tuner.engine.patience import Patience
from tuner.engine.searcher import OptunaSearcher, open_study
from tuner.records.trials import TrialRecord
from tuner.schedulers import SuccessiveHalving
from tuner.simulate import Setting, Simulation
from tuner.simulate.methods import Ours
from tuner.simulate.synthetic import SyntheticCurves

SPACE = Space.parse(
    {
        "backbone": {"choice": ["efficientnet_lite0", "resnet18"]},
        "optimizer.generator_lr": [
            {"when": {"backbone": "efficientnet_lite0"}, "float": {"low": 1e-4, "high": 1e-3, "log": True}},
            {"when": {"backbone": "resnet18"}, "float": {"low": 1e-5, "high": 1e-2, "log": True}},
        ],
    }
)
BASE = {"resolution": 32, "kimg": 27, "evaluation": {"metric": "fid[efficientnet_lite1,32px,n=8]"}}


def went(record: TrialRecord) -> tuple[Any, ...]:
    """What was decided about a trial, and on what; NaN equals NaN."""
    reports = [(round(report["kimg"], 6), repr(report["score"]), report["score_best"]) for report in record.reports]
    return record.number, record.values, record.state, record.reason, reports


def test_a_real_sweep_is_decided_alike(tmp_path: Path) -> None:
    """``real_sweep.json`` is what `run_sweep` has left of the small sweep with halving, 12 trials in two groups on Ray: records,
    and the order of proposals and reports in the journal. In that order our method proposes and decides the same."""
    recorded = json.loads((Path(__file__).parent / "real_sweep.json").read_text())
    spec = small_spec(tmp_path, budget__trials=12, scheduler=HALVING, resources__workers=1)
    setting = Setting(
        space=spec.search_space(),
        kimg=spec.budget.kimg,
        total_kimg=math.inf,
        scheduler=spec.scheduler,
        trials=spec.budget.trials,
        metric=spec.metric,
    )
    method = Ours(setting, spec.seed, lambda: 0.0)
    done = [0] * 12
    for what, number in recorded["order"]:
        scores = recorded["trials"][number]["scores"]
        if what == "suggest":
            assert method.suggest() == (number, recorded["trials"][number]["values"])
            continue
        done[number] += 1
        report = {
            "number": number, "step": 2 * done[number], "kimg": 0.016 * done[number], "score": scores[done[number] - 1],
            "score_best": min(scores[: done[number]]), "losses": {}, "problem": None, "last": done[number] == 4,
            "seconds_training": 1.0, "seconds_to_first_step": 1.0,
        }  # fmt: skip
        assert method.report(report) == (done[number] < len(scores))
    assert method.suggest() is None
    ends = [(record.state, record.reason) for record in method.records.all()]
    assert ends == [(trial["state"], trial["reason"]) for trial in recorded["trials"]]
    assert {state for state, _ in ends} == {State.COMPLETE, State.STOPPED}


def test_what_tune_is_told_is_what_is_simulated(tmp_path: Path) -> None:
    """Thirty trials of one group: the sampler has learnt, trials are stopped at each rung, and some are not finite."""
    curves = SyntheticCurves(SPACE, landscape=3)
    rule = SuccessiveHalving.Options(grace_kimg=3)
    setting = Setting(space=SPACE, kimg=27, total_kimg=10**6, scheduler=rule, trials=30)

    def failing(config: Mapping[str, Any], seed: int) -> tuple[np.ndarray, float]:
        scores, kimg = curves(config, seed)
        if config["optimizer.generator_lr"] > 5e-4:
            scores[5:] = math.nan
        return scores, kimg

    sweep = Driver(tmp_path, setting.rule())
    study = open_study(JournalStorage(SweepJournal(tmp_path / "optuna.journal", Patience(print, lambda: None))))
    searcher = OptunaSearcher(study, SPACE, BASE, setting.trials, 5, sweep.records)
    while isinstance(config := searcher.suggest(name := f"tune-{len(sweep.records)}"), dict):
        number, best = config["number"], math.inf
        for step, score in enumerate(failing(sweep.records[number].values, 5)[0].tolist(), start=1):
            best = min(best, score) if math.isfinite(score) else best
            problem = None if math.isfinite(score) else f"the score is {score}"
            told = {"score": score, "step": step, "problem": problem}
            verdict = sweep.result(number, step, best, last=step == 27, **told)
            result = {"kimg": step, "score_best": best}
            if verdict == TrialScheduler.STOP:
                searcher.on_trial_complete(name, result)
                break
            searcher.on_trial_result(name, result)
    simulation = Simulation(failing, 1, 5, setting=setting)
    simulation.run()
    assert isinstance(simulation.method, Ours)
    simulated = simulation.method.records.all()
    assert [went(record) for record in simulated] == [went(record) for record in sweep.records.all()]
    assert {record.state for record in simulated} == {State.COMPLETE, State.STOPPED, State.FAILED}
    trials = [study.get_trials(), simulation.method.proposals.study.get_trials()]
    told_to_tpe = [[(one.state, one.params, one.value, one.intermediate_values) for one in known] for known in trials]
    assert told_to_tpe[0] == told_to_tpe[1]
