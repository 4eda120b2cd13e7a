"""Recorded curves: the file, the surrogate, and recording finished sweeps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.space import Space
from tests.tuner.sweeps import HALVING, small_spec
from tuner.records.paths import SweepPaths
from tuner.records.trials import Fault, RecordBook, State
from tuner.simulate.recorded import RecordedCurves, Recording, Run, record
from tuner.spec import SweepSpec, dump_spec

SPACE = Space.parse(
    {
        "a": {"choice": ["one", "two", ["x", "y"]]},
        "b": [{"when": {"a": ["one", "two"]}, "float": {"low": 1, "high": 100, "log": True}}],
    }
)


def recording(*runs: Run) -> Recording:
    return Recording(SPACE, "fid[x,n=5]", 0.5, "made by hand", runs)


def run(a: Any, b: float | None, *scores: float, seed: int = 0, seconds: float = 1.0) -> Run:
    return Run({"a": a} | ({} if b is None else {"b": b}), seed, scores, seconds)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    written = recording(run("one", 10.0, 3.0, 2.0), run(("x", "y"), None, 4.0, 3.5, seed=1, seconds=2.5))
    written.write(tmp_path / "curves.parquet")
    assert Recording.read(tmp_path / "curves.parquet") == written


def test_another_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")
    for name in ("other.parquet", "text.parquet"):
        with pytest.raises(ValueError, match=rf"{name} holds no recorded curves; gansweep simulate record"):
            Recording.read(tmp_path / name)


def test_a_recorded_configuration_gives_its_own_runs() -> None:
    curves = RecordedCurves(recording(run("one", 10.0, 5.0, 4.0), run("one", 10.0, 7.0, 6.0, seed=1), run("two", 10.0, 9.0, 9.0)))
    got = {tuple(curves({"a": "one", "b": 10.0}, seed)[0]) for seed in range(20)}
    assert got == {(5.0, 4.0), (7.0, 6.0)}
    assert (curves.asked, curves.recorded) == (20, 20)
    assert curves({"a": "one", "b": 10.0}, 0)[1] == 0.5


def test_in_between_nearest_neighbours_are_weighted_by_nearness() -> None:
    # Places of 1, 10, 100 on the log scale are 0, 0.5, 1: from 10^0.5 it is 0.25, 0.25 and 0.75 to these.
    one = [
        run("one", 1.0, 8.0, 4.0, seconds=1.0),
        run("one", 10.0, 16.0, 8.0, seconds=2.0),
        run("one", 100.0, 80.0, 40.0, seconds=8.0),
    ]
    curves = RecordedCurves(recording(*one, run("two", 1.0, 1000.0, 1000.0)))
    weights = np.array([4, 4, 4 / 3]) / (4 + 4 + 4 / 3)
    asked = {"a": "one", "b": 10**0.5}
    scores, _ = curves(asked, 0)
    np.testing.assert_allclose(scores, weights @ np.array([[8.0, 4.0], [16.0, 8.0], [80.0, 40.0]]))
    assert curves.report_s(asked, 1.0) == pytest.approx(2 * weights @ [1, 2, 8])
    assert (curves.asked, curves.recorded) == (1, 0)


def test_noise_and_failure_are_those_of_the_nearest() -> None:
    curves = RecordedCurves(
        recording(
            run("one", 1.0, 10.0, 8.0), run("one", 1.0, 12.0, math.nan, seed=1), run("one", 100.0, 30.0, 20.0),
            run("one", 90.0, 30.0, 20.0),
        )
    )  # fmt: skip
    got = {tuple(np.isfinite(curves({"a": "one", "b": 1.1}, seed)[0])) for seed in range(20)}
    assert got == {(True, True), (True, False)}
    noise = {round(float(curves({"a": "one", "b": 1.1}, seed)[0][0]), 6) for seed in range(20)}
    assert len(noise) == 2
    assert max(noise) - min(noise) == pytest.approx(2.0)


def test_the_error_of_the_surrogate_is_by_leaving_one_out() -> None:
    line = [run("one", 10 ** (place / 20), 10.0 + place, 10.0 + place) for place in range(41)]
    error, rank = RecordedCurves(recording(*line)).error()
    assert error < 0.05
    assert rank > 0.98
    dice = np.random.default_rng(0)
    shuffled = [replace(one, scores=(score, score)) for one, score in zip(line, dice.permutation(41) + 10.0, strict=True)]
    assert abs(RecordedCurves(recording(*shuffled)).error()[1]) < 0.5
    with pytest.raises(ValueError, match=r"needs three configurations .* but got 2"):
        RecordedCurves(recording(*line[:2])).error()


def test_the_target_is_what_few_configurations_reach() -> None:
    curves = RecordedCurves(recording(*[run("one", 1.0 + place, 50.0 + place, 40.0 + place) for place in range(21)]))
    assert curves.target(0.05) == 41.0


def finished(folder: Path, **changes: Any) -> SweepSpec:
    """A sweep's folder with two whole trials, one whose training failed, one that was stopped."""
    folder.mkdir(exist_ok=True)
    spec = small_spec(folder, **changes)
    paths = SweepPaths(spec.root)
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    records = RecordBook(paths.trials)
    ends = [(State.COMPLETE, None, 4), (State.FAILED, Fault.TRAINING, 2), (State.STOPPED, None, 1), (State.COMPLETE, None, 4)]
    for number, (state, fault, count) in enumerate(ends):
        records.open(number, {"discriminator.frozen_depth": 3, "optimizer.generator_lr": 0.001 * (number + 1)})
        for step in range(1, count + 1):
            problem = "collapsed" if fault and step == count else None
            report = {
                "number": number, "step": 2 * step, "kimg": 0.016 * step, "score": 100.0 - step, "score_best": 100.0 - step,
                "losses": {}, "problem": problem, "seconds_training": 1.0, "seconds_evaluating": 0.5,
                "seconds_to_first_step": 1.0,
            }  # fmt: skip
            records.report(report)
        records.end(number, state, "why", fault)
    return spec


def test_finished_sweeps_are_recorded(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "a"), finished(tmp_path / "b", seed=2)
    out = tmp_path / "curves.parquet"
    written, left_out = record([first.root, second.root], out)
    assert repr(Recording.read(out)) == repr(written)  # NaN equals nothing
    assert left_out == 2
    assert (written.kimg, written.evaluations, written.metric) == (pytest.approx(0.016), 4, str(first.metric))
    assert written.space == first.search_space()
    assert [one.seed for one in written.runs] == [1, 1, 2, 2, 1, 2]
    assert [one.scores for one in written.runs[:2]] == [(99.0, 98.0, 97.0, 96.0)] * 2
    np.testing.assert_array_equal(written.runs[4].scores, [99.0, math.nan, math.nan, math.nan])
    assert {one.seconds for one in written.runs} == {1.5}


def test_sweeps_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = finished(tmp_path / "a")
    other = finished(tmp_path / "b", budget__kimg=0.08)
    with pytest.raises(ValueError, match=r"have one kimg of a trial, but .* has 0\.08, .* 0\.064"):
        record([first.root, other.root], tmp_path / "curves.parquet")
    stopped = small_spec(tmp_path, scheduler=HALVING)
    paths = SweepPaths(stopped.root)
    paths.storage.write_bytes(paths.SPEC, dump_spec(stopped))
    with pytest.raises(ValueError, match=r"no trial of .* ran to its end: record sweeps with scheduler: \{name: none\}"):
        record([stopped.root], tmp_path / "curves.parquet")
