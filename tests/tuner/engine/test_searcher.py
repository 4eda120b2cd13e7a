"""The searcher on a real Optuna study with its journal on disk."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search_spaces.space import Space
from trainables.storage import Storage
from tuner.engine.journal import SweepJournal
from tuner.engine.patience import Patience
from tuner.engine.searcher import RETRY_OF, OptunaSearcher, open_study, sampler
from tuner.records.trials import Fault, RecordBook, State

SPACE = Space.parse(
    {
        "backbone": {"choice": ["efficientnet_lite0", "resnet18"]},
        "feature_loss.layers": [
            {"when": {"backbone": "efficientnet_lite0"}, "choice": [[], ["blocks.1", "blocks.2"]]},
            {"when": {"backbone": "resnet18"}, "choice": [[], ["layer1"]]},
        ],
        "optimizer.generator_lr": {"float": {"low": 1e-4, "high": 1e-3, "log": True}},
    }
)
BASE = {"resolution": 32, "kimg": 9, "evaluation": {"metric": "fid[efficientnet_lite1,32px,n=8]"}}


class Sweep:
    """One run of a sweep over the journal in ``folder``; another run is another object."""

    def __init__(
        self, folder: Path, trials: int = 10, seed: int = 0, deadline: float | None = None, starts: dict[str, Any] | None = None
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        folder.mkdir(exist_ok=True)
        self.study = open_study(JournalStorage(SweepJournal(folder / "optuna.journal", Patience(print, lambda: None))))
        self.records = RecordBook(Storage(folder).at("trials"))
        self.searcher = OptunaSearcher(self.study, SPACE, BASE, trials, seed, self.records, deadline, starts=starts)
        self.ids: dict[int, str] = {}

    def suggest(self) -> int:
        """Takes the next trial; returns its number."""
        trial_id = f"tune-{len(self.ids)}"
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict)
        self.ids[config["number"]] = trial_id
        return int(config["number"])

    @property
    def finished(self) -> bool:
        """Nothing more is proposed; there may be more while trials run, under which infrastructure may fail."""
        return self.searcher.suggest("tune-none") == (None if self.searcher._open else Searcher.FINISHED)

    def report(self, number: int, step: int, score_best: float, *, resumed: bool = False) -> None:
        """A report comes up: to the records, and to the searcher as Tune does."""
        result = {
            "number": number, "step": step, "kimg": step / 1000, "score": score_best, "score_best": score_best, "losses": {},
            "problem": None, "seconds_training": 1.0, "seconds_to_first_step": 1.0, "resumed": resumed,
        }  # fmt: skip
        self.records.report(result)
        self.searcher.on_trial_result(self.ids[number], result)

    def end(self, number: int, state: State, reason: str = "", fault: Fault | None = None) -> None:
        self.records.end(number, state, reason, fault)
        self.searcher.on_trial_complete(self.ids[number], error=state == State.FAILED)

    def stored(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.get_trials()[number]


def test_a_proposal_is_a_complete_configuration_named_by_its_number(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    config = sweep.searcher.suggest("tune-a")
    assert isinstance(config, dict)
    assert config["number"] == 0
    assert config["trial"]["resolution"] == 32
    assert config["trial"]["optimizer"]["generator_lr"] == sweep.records[0].values["optimizer.generator_lr"]
    assert config["trial"]["backbone"] in ("efficientnet_lite0", "resnet18")
    assert sweep.records[0].state == State.RUNNING


def test_an_early_stop_is_pruned_with_its_intermediate_values(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    number = sweep.suggest()
    sweep.report(number, 10, 120.0)
    sweep.report(number, 20, 110.0)
    sweep.end(number, State.STOPPED, "best FID 110.0 is 2nd of 2")
    stored = Sweep(tmp_path).stored(number)  # from the journal, as a later run reads it
    assert stored.state == TrialState.PRUNED
    assert stored.intermediate_values == {10: 120.0, 20: 110.0}
    assert stored.user_attrs["reason"] == "best FID 110.0 is 2nd of 2"


def test_a_complete_trial_is_told_its_best(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    number = sweep.suggest()
    sweep.report(number, 10, 80.0)
    sweep.report(number, 20, 80.0)  # the FID rose, the best stayed
    sweep.end(number, State.COMPLETE, "reached its budget of images")
    stored = Sweep(tmp_path).stored(number)
    assert (stored.state, stored.value) == (TrialState.COMPLETE, 80.0)


def test_the_last_result_that_tune_gives_only_at_the_end_is_kept(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    number = sweep.suggest()
    sweep.records.end(number, State.STOPPED, "why")
    sweep.searcher.on_trial_complete(sweep.ids[number], {"kimg": 0.01, "score_best": 77.0})
    assert sweep.stored(number).intermediate_values == {10: 77.0}


def test_a_failed_trial_fails_with_its_reason(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    number = sweep.suggest()
    sweep.report(number, 10, 80.0)
    sweep.end(number, State.FAILED, "ValueError: no such thing")
    stored = Sweep(tmp_path).stored(number)
    assert (stored.state, stored.user_attrs["reason"]) == (TrialState.FAIL, "ValueError: no such thing")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_never_leaves_a_trial_running(tmp_path: Path, value: float) -> None:
    sweep = Sweep(tmp_path)
    number = sweep.suggest()
    sweep.report(number, 10, value)
    sweep.end(number, State.FAILED, f"FID is {value}")
    stored = Sweep(tmp_path).stored(number)
    assert (stored.state, stored.intermediate_values) == (TrialState.FAIL, {})
    assert Sweep(tmp_path).suggest() == 1


def test_training_that_went_wrong_is_told_with_what_it_reached(tmp_path: Path) -> None:
    """TPE ignores FAIL: it would propose the same again. What reached nothing counts as the worst of all."""
    sweep = Sweep(tmp_path)
    led, nothing = sweep.suggest(), sweep.suggest()
    sweep.report(led, 10, 50.0)
    sweep.end(led, State.FAILED, "collapsed", Fault.TRAINING)
    sweep.end(nothing, State.FAILED, "d_loss is nan", Fault.TRAINING)
    assert [(sweep.stored(n).state, sweep.stored(n).intermediate_values) for n in (led, nothing)] == [
        (TrialState.PRUNED, {10: 50.0}),
        (TrialState.PRUNED, {}),
    ]


def test_at_equal_images_the_better_score_is_the_better_trial_whatever_the_batch_size(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    small, large = sweep.suggest(), sweep.suggest()
    for number, step, score_best in ((small, 1000, 300.0), (large, 125, 50.0)):  # batches of 8 and of 64, both at 8 kimg
        sweep.searcher.on_trial_result(sweep.ids[number], {"step": step, "kimg": 8.0, "score_best": score_best})
    assert [sweep.stored(n).intermediate_values for n in (small, large)] == [{8000: 300.0}, {8000: 50.0}]


def test_a_trial_under_which_infrastructure_failed_is_proposed_again_first(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, trials=2)
    first, second = sweep.suggest(), sweep.suggest()
    assert sweep.finished
    assert sweep.searcher.exhausted
    sweep.searcher.on_trial_complete(sweep.ids[first], error=True)  # its record is still running
    assert not sweep.searcher.exhausted
    values = sweep.records[first].values
    assert sweep.suggest() == first
    assert sweep.records[first].values == values
    assert sweep.stored(first).state == TrialState.RUNNING
    sweep.end(second, State.COMPLETE)
    assert sweep.finished


def test_a_trial_whose_end_was_written_and_not_told_is_told_by_the_next_run(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    number = first.suggest()
    first.report(number, 10, 50.0)
    report = {"number": number, "step": 20, "kimg": 0.02, "score_best": 40.0, "losses": {}, "problem": None, "resumed": False}
    first.records.report(report | {"score": 40.0, "seconds_training": 1.0, "seconds_to_first_step": 1.0})
    first.records.end(number, State.STOPPED, "why")  # and then the driver is killed
    second = Sweep(tmp_path)
    assert (second.stored(number).state, second.stored(number).intermediate_values) == (TrialState.PRUNED, {10: 50.0, 20: 40.0})
    assert second.suggest() == number + 1


def test_a_failed_trial_is_tried_again_under_a_number_of_its_own(tmp_path: Path) -> None:
    first = Sweep(tmp_path, trials=2)
    for _ in range(2):
        first.end(first.suggest(), State.FAILED, "why", Fault.CONFIGURATION)
    second = Sweep(tmp_path, trials=2)
    assert second.finished
    assert second.searcher.try_again(0) == 2
    third = Sweep(tmp_path, trials=2)  # killed before it was proposed
    assert third.searcher.retried == {0}
    assert third.suggest() == 2
    assert third.stored(2).params == third.stored(0).params
    assert third.stored(2).user_attrs == {RETRY_OF: 0}
    assert third.finished


def test_a_driver_killed_while_it_proposed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = Sweep(tmp_path / "whole")
    whole.suggest()
    killed = Sweep(tmp_path / "killed")
    killed.study.sampler = sampler(0, 0)
    killed.study.ask()  # the trial is there, its values are not
    again = Sweep(tmp_path / "killed")
    assert again.suggest() == 0
    assert again.stored(0).params == whole.stored(0).params


def test_a_record_that_is_lost_comes_back_as_what_it_was(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    for state, fault in ((State.STOPPED, None), (State.FAILED, Fault.TRAINING), (State.FAILED, Fault.CONFIGURATION)):
        first.end(first.suggest(), state, "why", fault)
    before = [(record.state, record.fault, record.reason) for record in first.records.all()]
    for number in range(3):
        (tmp_path / "trials" / f"{number:04d}" / "record.json").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match=r"record\.json"):
        second = Sweep(tmp_path)
    assert [(record.state, record.fault, record.reason) for record in second.records.all()] == before


def test_a_reopened_journal_proposes_unfinished_trials_first_with_their_values(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    numbers = [first.suggest() for _ in range(4)]
    assert numbers == [0, 1, 2, 3]
    first.report(1, 10, 50.0)
    first.report(3, 10, 60.0)
    first.end(0, State.STOPPED, "why")
    first.end(2, State.FAILED, "why")
    values = {number: first.records[number].values for number in (1, 3)}
    second = Sweep(tmp_path)  # the first is killed
    assert [second.suggest(), second.suggest()] == [1, 3]
    for number in (1, 3):
        again = second.records[number].values
        assert {path: thaw(value) for path, value in again.items()} == {path: thaw(v) for path, v in values[number].items()}
        assert [report["step"] for report in second.records[number].reports] == [10]
    assert second.suggest() == 4


def test_a_step_reported_again_after_a_resume_is_taken_once(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    first.suggest()
    first.report(0, 10, 50.0)
    second = Sweep(tmp_path)
    second.suggest()
    second.report(0, 10, 50.0, resumed=True)  # Optuna would warn, and warnings are errors here
    second.report(0, 20, 40.0, resumed=True)
    assert second.stored(0).intermediate_values == {10: 50.0, 20: 40.0}
    assert [report["step"] for report in second.records[0].reports] == [10, 20]


def test_never_more_trials_than_asked_for_over_several_runs(tmp_path: Path) -> None:
    first = Sweep(tmp_path, trials=3)
    for _ in range(2):
        first.end(first.suggest(), State.FAILED, "why")
    first.suggest()
    assert first.finished
    second = Sweep(tmp_path, trials=3)
    assert second.suggest() == 2
    assert second.finished
    second.end(2, State.STOPPED, "why")
    assert Sweep(tmp_path, trials=3).finished
    more = Sweep(tmp_path, trials=4)
    assert more.suggest() == 3
    assert more.finished
    assert len(more.study.get_trials()) == 4


def test_proposals_are_a_function_of_seed_and_number(tmp_path: Path) -> None:
    def run(folder: str, seed: int, interrupted_after: int) -> list[dict[str, Any]]:
        sweep = Sweep(tmp_path / folder, seed=seed)
        for number in range(9):  # past the sampler's start-up, where it learns from the results
            if number == interrupted_after:
                sweep = Sweep(tmp_path / folder, seed=seed)
            assert sweep.suggest() == number
            sweep.report(number, 10, 100.0 - 7 * (number % 4))
            sweep.report(number, 20, 90.0 - 7 * (number % 4))
            sweep.end(number, State.COMPLETE if number % 2 else State.STOPPED, "why")
        return [trial.params for trial in sweep.study.get_trials()]

    whole = run("whole", 0, interrupted_after=-1)
    assert run("again", 0, interrupted_after=-1) == whole
    assert run("interrupted", 0, interrupted_after=7) == whole
    assert run("other", 1, interrupted_after=-1) != whole
    assert len({str(params) for params in whole}) == 9


def test_another_number_is_another_draw() -> None:
    def first_draw(seed: int, number: int) -> float:
        study = optuna.create_study(sampler=sampler(seed, number))
        return study.ask().suggest_float("x", 0, 1)

    draws = {(seed, number): first_draw(seed, number) for seed in (0, 1) for number in (0, 1, 2)}
    assert len(set(draws.values())) == 6
    assert first_draw(0, 1) == draws[0, 1]


def test_after_the_deadline_nothing_is_proposed_not_even_what_is_unfinished(tmp_path: Path) -> None:
    first = Sweep(tmp_path, deadline=time.time() + 3600)
    assert first.suggest() == 0
    late = Sweep(tmp_path, deadline=time.time() - 1)
    assert late.finished
    assert late.stored(0).state == TrialState.RUNNING
    assert Sweep(tmp_path).suggest() == 0


def test_a_trial_tune_never_heard_of_changes_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.searcher.on_trial_result("tune-unknown", {"score_best": 1.0, "kimg": 1})
    sweep.searcher.on_trial_complete("tune-unknown", error=True)
    assert sweep.study.get_trials() == []


def thaw(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


STARTS = {
    "second": {"backbone": "resnet18"},
    "layered": {"backbone": "efficientnet_lite0", "feature_loss.layers": ["blocks.1", "blocks.2"]},
}


def test_starting_points_come_first_and_count_among_the_trials(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, trials=3, starts=STARTS)
    values = [sweep.records[sweep.suggest()].values for _ in range(3)]
    assert values[0]["backbone"] == "resnet18"
    assert values[1]["feature_loss.layers"] == ("blocks.1", "blocks.2")
    assert 1e-4 <= values[0]["optimizer.generator_lr"] <= 1e-3, "what a starting point leaves out is drawn"
    assert sweep.finished


def test_starting_points_are_not_proposed_again_by_a_resumed_sweep(tmp_path: Path) -> None:
    first = Sweep(tmp_path, trials=2, starts=STARTS)
    first.suggest()
    resumed = Sweep(tmp_path, trials=4, starts=STARTS)
    values = [resumed.records[resumed.suggest()].values for _ in range(4)]
    assert [v["backbone"] for v in values[:2]] == ["resnet18", "efficientnet_lite0"]
    assert resumed.finished
    assert sum("start" in trial.user_attrs for trial in resumed.study.get_trials()) == 2


def test_of_too_many_starting_points_the_first_are_taken(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, trials=1, starts=STARTS)
    sweep.suggest()
    assert sweep.finished
