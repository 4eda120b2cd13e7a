"""Tune's side of every scheduler: divergence, failures, wall time, reasons, state on disk."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from tests.tuner.schedulers.test_successive_halving import FID, halving
from tuner.engine.failures import Failures
from tuner.engine.patience import Patience
from tuner.engine.report import Report
from tuner.engine.scheduler import Surroundings, SweepScheduler
from tuner.records.paths import SweepPaths
from tuner.records.trials import Fault, RecordBook, State
from tuner.schedulers import SCHEDULERS

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


class Sweep:
    """A sweep's folder with its records and a scheduler, fed with results by hand."""

    def __init__(self, folder: Path, rule: Any, deadline: float | None = None) -> None:
        paths = SweepPaths(folder)
        self.storage = paths.storage
        self.storage.write_bytes(paths.SPEC, b"")
        self.records = RecordBook(paths.trials)
        patience = Patience(print, lambda: None)
        self.failures = Failures(paths, self.records, patience, retries=1, breaker=4, can_do_without=lambda nodes: True)
        self.told: list[int] = []  # numbers of the trials whose reports were new
        surroundings = Surroundings(
            paths=paths,
            records=self.records,
            patience=patience,
            failures=self.failures,
            reported=lambda record: self.told.append(record.number),
            exhausted=lambda: False,
        )
        self.scheduler = SweepScheduler(rule, surroundings, deadline, keep_warm=0)

    def result(self, number: int, kimg: float, score_best: float, *, last: bool = False, **told: Any) -> str:
        if number not in self.records:
            self.records.open(number, {})
        report = {
            "number": number, "step": round(kimg * 10), "kimg": kimg, "score": score_best, "score_best": score_best, "losses": {},
            "last": last, "problem": None, "resumed": False, "seconds_training": 1.0, "seconds_to_first_step": 1.0,
        } | told  # fmt: skip
        return self.scheduler.on_trial_result(None, None, {"number": number, "report": Report(report), "nodes": ["a"]})

    def failure(self, number: int, fault: str, text: str = "Traceback\nValueError: why", nodes: tuple[str, ...] = ("a",)) -> str:
        if number not in self.records:
            self.records.open(number, {})
        result = {"number": number, "fault": fault, "failure": text, "nodes": [*nodes]}
        return self.scheduler.on_trial_result(None, None, result)

    def outcome(self, number: int) -> tuple[State, str]:
        return self.records[number].state, self.records[number].reason


def options_of(name: str) -> Any:
    component = SCHEDULERS[name]
    needed = {"grace_kimg": 1} if "grace_kimg" in component.Options.model_fields else {}
    return component.Options(**needed)


@pytest.mark.parametrize("name", SCHEDULERS)
class TestContract:
    """What every entry of SCHEDULERS must do."""

    def test_its_name_is_its_option(self, name: str, tmp_path: Path) -> None:
        assert options_of(name).name == name

    def test_a_single_trial_runs_to_its_end(self, name: str, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, SCHEDULERS[name](options_of(name), 9, FID))
        assert [sweep.result(0, kimg, 100 - kimg) for kimg in range(1, 9)] == [CONTINUE] * 8
        assert sweep.result(0, 9, 50, last=True) == STOP
        assert sweep.outcome(0) == (State.COMPLETE, "reached its budget of images")

    def test_a_diverged_trial_is_stopped_with_the_cause(self, name: str, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, SCHEDULERS[name](options_of(name), 9, FID))
        assert sweep.result(0, 1, 50) == CONTINUE
        assert sweep.result(0, 1.5, 50, problem="d_loss is nan by 1.50 kimg") == STOP
        assert sweep.outcome(0) == (State.FAILED, "d_loss is nan by 1.50 kimg")

    @pytest.mark.parametrize("fid", [math.nan, math.inf])
    def test_a_value_that_is_not_finite_never_goes_on(self, name: str, tmp_path: Path, fid: float) -> None:
        sweep = Sweep(tmp_path, SCHEDULERS[name](options_of(name), 9, FID))
        assert sweep.result(0, 1, fid) == STOP
        assert sweep.outcome(0) == (State.FAILED, f"its best score is {fid}")
        assert sweep.result(1, 1, 50) == CONTINUE

    def test_a_diverged_trial_leaves_no_mark_on_others(self, name: str, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, rule := SCHEDULERS[name](options_of(name), 9, FID))
        before = rule.state()
        sweep.result(0, 1, 1e-9, problem="FID is nan")
        assert rule.state() == before

    def test_wall_time(self, name: str, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, SCHEDULERS[name](options_of(name), 9, FID), deadline=time.time() - 1)
        assert sweep.result(0, 1, 50) == STOP
        assert sweep.outcome(0) == (State.RUNNING, ""), "a resume with more time goes on with it"
        later = Sweep(tmp_path / "later", SCHEDULERS[name](options_of(name), 9, FID), deadline=time.time() + 3600)
        assert later.result(0, 1, 50) == CONTINUE

    def test_the_last_report_completes_a_trial_even_beyond_the_wall_time(self, name: str, tmp_path: Path) -> None:
        sweep = Sweep(tmp_path, SCHEDULERS[name](options_of(name), 9, FID), deadline=time.time() - 1)
        assert sweep.result(0, 9, 50, last=True) == STOP
        assert sweep.outcome(0)[0] == State.COMPLETE

    def test_state_goes_through_the_file(self, name: str, tmp_path: Path) -> None:
        """Interrupted after any report, a sweep decides as if it had not been."""
        results = [
            (0, 1, 100.0),
            (1, 1, 120.0),
            (2, 1, 90.0),
            (0, 3, 80.0),
            (3, 1, 95.0),
            (2, 3, 85.0),
            (4, 1, 50.0),
            (4, 3, 40.0),
        ]
        whole = Sweep(tmp_path / "whole", SCHEDULERS[name](options_of(name), 9, FID))
        expected = [whole.result(*result) for result in results]
        got = []
        for result in results:
            resumed = Sweep(tmp_path / "parts", SCHEDULERS[name](options_of(name), 9, FID))
            got.append(resumed.result(*result))
        assert got == expected
        assert {r.number: (r.state, r.reason) for r in resumed.records.all()} == {
            r.number: (r.state, r.reason) for r in whole.records.all()
        }


def test_best_so_far_decides_not_the_last_value(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    sweep.result(0, 1, 100)
    assert sweep.result(1, 1, 90, score=500) == CONTINUE


def test_an_exception_of_the_trial_closes_its_record_with_its_last_line(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    assert sweep.failure(3, "configuration", "Traceback ...\n  File\nValueError: no such thing\n\n") == STOP
    assert sweep.outcome(3) == (State.FAILED, "ValueError: no such thing (traceback: trials/0003/error.txt)")
    assert sweep.records[3].fault == Fault.CONFIGURATION
    assert b"ValueError" in sweep.storage.read_bytes("trials/0003/error.txt")


def test_a_dead_tune_actor_is_nobodys_fault_until_it_happens_again_and_again(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())  # one retry
    sweep.records.open(4, {})

    class Trial:
        config = {"number": 4}  # noqa: RUF012
        error_file = str(tmp_path / "of_ray.txt")

    said = "The actor died unexpectedly before finishing this task.\n\tpid: 19436\n"
    Path(Trial.error_file).write_text(f"Failure # 1 (occurred at 2026-11-25_01-02-00)\n{said}")  # as Tune writes it
    sweep.scheduler.on_trial_error(None, Trial)
    assert sweep.outcome(4) == (State.RUNNING, "")
    sweep.scheduler.on_trial_error(None, Trial)
    state, reason = sweep.outcome(4)
    assert (state, sweep.records[4].fault) == (State.FAILED, Fault.INFRASTRUCTURE)
    assert "2 infrastructure failures without a new report: its Tune actor died: The actor died unexpectedly" in reason
    assert b"19436" in sweep.storage.read_bytes("trials/0004/error.txt")
    sweep.records.open(5, {})
    Trial.config = {"number": 5}
    trace = "\x1b[36mray::GroupTrial.train()\x1b[39m (pid=1, ip=::1)\n  File\nKeyError: 'kimg'\n"
    Path(Trial.error_file).write_text(f"Failure # 1 (occurred at 2026-11-25_01-02-00)\n{trace}")
    for _ in range(2):
        sweep.scheduler.on_trial_error(None, Trial)
    assert "report: KeyError: 'kimg'" in sweep.outcome(5)[1]
    assert "died" not in sweep.outcome(5)[1]


def test_a_report_wipes_the_slate_clean(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving(max_kimg=1000, grace=500))
    for kimg in (1, 2, 3):
        assert sweep.failure(0, "infrastructure") == STOP
        assert sweep.result(0, kimg, 50) == CONTINUE
    assert sweep.outcome(0)[0] == State.RUNNING
    assert sweep.failures.paused is None


def test_what_a_checkpoint_repeats_is_no_sign_of_life(tmp_path: Path) -> None:
    """A node that dies a while into each attempt reports anew what its trial's checkpoint holds."""
    sweep = Sweep(tmp_path, halving(max_kimg=1000, grace=500))
    sweep.result(0, 1, 50)
    for _ in range(2):
        sweep.failure(0, "infrastructure", nodes=("a", "b"))
        assert sweep.result(0, 1, 50, resumed=True) == CONTINUE
    assert sweep.failures.avoid() == ["a", "b"]
    assert sweep.outcome(0)[0] == State.FAILED, "given up after its one retry"


def test_many_groups_on_one_node_that_is_lost_are_no_failures_in_a_row(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving(max_kimg=1000, grace=500))
    for number in range(8):
        sweep.result(number, 1, 50)
    for number in range(8):
        sweep.failure(number, "infrastructure", nodes=("lost",))
    assert sweep.failures.paused is None
    assert sweep.failures.avoid() == ["lost"]


def test_failures_in_a_row_pause_the_sweep_and_say_what_they_have_in_common(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    for number in range(3):
        sweep.failure(
            number, "configuration", "Traceback\nRuntimeError: no weights", nodes=("node-a", "node-b")[: 1 + number % 2]
        )
        assert sweep.failures.paused is None
    sweep.failure(3, "infrastructure", "Traceback\nRuntimeError: no weights", nodes=("node-a",))
    assert sweep.failures.paused == (
        "4 failures in a row without one report: all of them RuntimeError: no weights, all on node node-a"
    )


def test_a_node_that_fails_again_and_again_is_kept_away_from_if_there_are_others(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    sweep.failure(0, "infrastructure", nodes=("bad",))
    sweep.result(1, 1, 50)  # on node "a"
    assert sweep.failures.avoid() == []
    sweep.failure(2, "infrastructure", nodes=("bad",))
    assert sweep.failures.avoid() == ["bad"]
    sweep.failures._can_do_without = lambda nodes: False
    assert sweep.failures.avoid() == []
    sweep.failures._can_do_without = lambda nodes: True
    sweep.failures.reported(3, ["bad"])
    assert sweep.failures.avoid() == []


def test_training_that_went_wrong_is_told_apart(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    sweep.result(0, 1, 50, problem="the generator has collapsed")
    assert sweep.records[0].fault == Fault.TRAINING
    assert sweep.records[0].score_best == 50, "it keeps what it reached"
    assert sweep.failures.paused is None


def test_a_torn_last_entry_of_the_rungs_is_dropped_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    sweep.result(0, 1, 50)
    sweep.result(1, 1, 60)
    file = tmp_path / "scheduler.jsonl"
    whole = file.read_bytes()
    sweep.records.reopen(1)  # its end is written after the rule's entry, so it was not yet when that was torn
    file.write_bytes(whole[:-9])
    again = Sweep(tmp_path, halving())
    assert again.scheduler.rule.rungs[0][1] == {0: 50}
    assert again.result(1, 1, 60) == STOP
    assert file.read_bytes() == whole
    file.write_bytes(whole.replace(b"50", b"40", 1))
    with pytest.raises(ValueError, match=r"scheduler\.jsonl is damaged: line 1"):
        Sweep(tmp_path, halving())


def test_rungs_that_were_cut_off_are_missed_and_may_be_done_without(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, halving())
    sweep.result(0, 1, 50)
    assert sweep.result(1, 1, 60) == STOP
    file = tmp_path / "scheduler.jsonl"
    for cut in (b"", file.read_bytes().split(b"\n")[0] + b"\n"):
        file.write_bytes(cut)
        with pytest.raises(ValueError, match=r"scheduler\.jsonl was cut: .*\(1\): put back a copy, or delete it"):
            Sweep(tmp_path, halving())
    Sweep(tmp_path, SCHEDULERS["none"](options_of("none"), 9, FID))
    file.unlink()
    assert Sweep(tmp_path, halving()).result(2, 1, 99) == CONTINUE
