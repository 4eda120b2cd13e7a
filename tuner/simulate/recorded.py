"""Recorded learning curves as a small Parquet file, and a surrogate for configurations in between.

A row is one trial that ran to its end, or to where its training failed. Trials that a rule stopped are left out: nobody knows how
they would have gone on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import spearmanr

from search_spaces.dimensions import Choice, freeze, label, thaw
from search_spaces.space import Space
from trainables.config import EvaluationOptions
from tuner.records.paths import load_paths
from tuner.records.trials import Fault, RecordBook, State, TrialRecord
from tuner.simulate.setting import Config
from tuner.simulate.synthetic import digest, unit
from tuner.spec import load_spec

NEIGHBOURS = 3


@dataclass(frozen=True)
class Run:
    """One trial as it went."""

    values: Config
    seed: int
    scores: tuple[float, ...]  # by evaluation; NaN from where the training failed
    seconds: float  # from one report to the next: median


@dataclass(frozen=True)
class Recording:
    """Runs of one space on one data set.

    Args:
        kimg: from one evaluation to the next.
        made_by: where the runs come from, for people.
    """

    space: Space
    metric: str
    kimg: float
    made_by: str
    runs: tuple[Run, ...]

    def write(self, file: Path) -> None:
        """Writes the Parquet file."""
        heading = {"space": self.space.to_data(), "metric": self.metric, "kimg": self.kimg, "made_by": self.made_by}
        columns = {
            "values": pa.array([json.dumps({path: thaw(value) for path, value in run.values.items()}) for run in self.runs]),
            "seed": pa.array([run.seed for run in self.runs], pa.int64()),
            "scores": pa.array([run.scores for run in self.runs], pa.list_(pa.float32())),
            "seconds": pa.array([run.seconds for run in self.runs], pa.float32()),
        }
        table = pa.table(columns).replace_schema_metadata({"gansweep.curves": json.dumps(heading, sort_keys=False)})
        pq.write_table(table, file, compression="zstd")

    @classmethod
    def read(cls, file: Path) -> Recording:
        """Reads what `write` wrote. ValueError when it is something else, or is not there."""
        if not file.is_file():
            raise ValueError(f"there is no file {file}")
        try:
            table = pq.read_table(file)
            heading = json.loads((table.schema.metadata or {})[b"gansweep.curves"])
        except (pa.ArrowInvalid, KeyError):
            raise ValueError(f"{file} holds no recorded curves; gansweep simulate record SWEEP --out FILE writes some") from None
        runs = [
            Run({path: freeze(value) for path, value in json.loads(row["values"]).items()}, row["seed"],
                tuple(row["scores"]), row["seconds"])
            for row in table.to_pylist()
        ]  # fmt: skip
        return cls(Space.parse(heading["space"]), heading["metric"], heading["kimg"], heading["made_by"], tuple(runs))

    @property
    def evaluations(self) -> int:
        """Of a whole trial."""
        return len(self.runs[0].scores)


class RecordedCurves:
    """Curves of a recording: (config, seed) → (scores [evaluations], kimg from one to the next).

    A configuration that was recorded gives one of its runs, chosen by ``seed``. Any other one gives what its nearest neighbours'
    mean curves have in common, weighted by nearness, with the noise of a run of the nearest; where that run failed, it fails.
    Distance: of numbers by their place in their range, of choices 0 or 1, and 1 for what only one of both has.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording, self.space = recording, recording.space
        self.configs: list[Config] = []
        self._runs: list[list[Run]] = []
        places: dict[str, int] = {}
        for run in recording.runs:
            key = _key(run.values)
            if key not in places:
                places[key] = len(self.configs)
                self.configs.append(run.values)
                self._runs.append([])
            self._runs[places[key]].append(run)
        self._scores = [np.array([run.scores for run in runs], float) for runs in self._runs]  # each [runs, evaluations]
        self._means = np.array([_mean(scores) for scores in self._scores])
        self._seconds = np.array([np.median([run.seconds for run in runs]) for runs in self._runs])
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # neighbours of what was asked for
        self.asked, self.recorded = 0, 0  # calls, and those of them that were answered by a recorded run

    def __call__(self, config: Config, seed: int) -> tuple[np.ndarray, float]:
        near, weights = self._near(config)
        nearest = near[0]
        self.asked += 1
        self.recorded += len(near) == 1
        run = digest(seed, {path: thaw(value) for path, value in config.items()}) % len(self._runs[nearest])
        noise = self._scores[nearest][run] - self._means[nearest]
        return self._predicted(near, weights) + noise, self.recording.kimg

    def report_s(self, config: Config, kimg: float) -> float:
        """Seconds from one report to the next."""
        near, weights = self._near(config)
        return float(weights @ self._seconds[near]) * kimg / self.recording.kimg

    def target(self, share: float) -> float:
        """The best score that this share of all recorded configurations reaches, by the mean of its runs."""
        bests = np.array([np.nanmean([_best(scores) for scores in runs]) for runs in self._scores])
        return float(np.quantile(bests[np.isfinite(bests)], share, method="higher"))

    def error(self) -> tuple[float, float]:
        """The surrogate's error, each configuration predicted by the others: of the best score of a whole trial the median
        relative error, and Spearman's rank correlation."""
        predicted, true = [], []
        for place, config in enumerate(self.configs):
            near, weights = self._near(config, without=place)
            pair = _best(self._predicted(near, weights)), _best(self._means[place])
            if all(map(math.isfinite, pair)):
                predicted.append(pair[0])
                true.append(pair[1])
        if len(true) < 3:
            raise ValueError(f"the surrogate's error needs three configurations whose training did not fail, but got {len(true)}")
        relative = np.abs(np.array(predicted) - true) / np.abs(true)
        return float(np.median(relative)), float(spearmanr(predicted, true).statistic)

    def _near(self, config: Config, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest recorded configurations, nearest first, and their weights; one alone that is the same."""
        key = _key(config)
        if without is None and key in self._known:
            return self._known[key]
        distances = np.array([self._distance(config, other) for other in self.configs])
        if without is not None:
            distances[without] = math.inf
        near = np.argsort(distances, kind="stable")[: min(NEIGHBOURS, len(self.configs) - (without is not None))]
        if distances[near[0]] == 0:
            found = near[:1], np.ones(1)
        else:
            weights = 1 / distances[near]
            found = near, weights / weights.sum()
        if without is None:
            self._known[key] = found
        return found

    def _predicted(self, near: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weighted mean curve [evaluations] of neighbours, of those that failed at an evaluation the others; NaN where the
        nearest one failed in all its runs."""
        means = self._means[near]
        known = np.isfinite(means)
        total = (weights[:, None] * known).sum(axis=0)
        curve = np.where(known, weights[:, None] * np.nan_to_num(means), 0).sum(axis=0) / np.where(total > 0, total, 1)
        return np.where(known[0], curve, math.nan)

    def _distance(self, one: Config, other: Config) -> float:
        total = 0.0
        for path in one.keys() | other.keys():
            if path not in one or path not in other:
                total += 1.0
                continue
            dimension = self._dimension(path, one)
            if isinstance(dimension, Choice) or dimension != self._dimension(path, other):
                total += float(one[path] != other[path])
            else:
                total += abs(unit(dimension, one[path]) - unit(dimension, other[path]))
        return total

    def _dimension(self, path: str, config: Config) -> Any:
        for when, dimension in self.space.branches(path):
            if all(name in config and config[name] in allowed for name, allowed in when.items()):
                return dimension
        raise ValueError(f"{path} is in a configuration although none of its conditions holds: {config}")


def record(sweeps: Sequence[Path], out: Path) -> tuple[Recording, int]:
    """Writes the curves of finished sweeps; returns them, and how many trials were left out because a rule stopped them.

    Raises:
        ValueError: no sweep, sweeps that differ in space, metric or cadence, no trial that ran to its end, no folder to write in.
    """
    if not out.absolute().parent.is_dir():
        raise ValueError(f"{out} cannot be written: there is no folder {out.absolute().parent}")
    kinds: dict[str, str] = {}
    whole: list[tuple[int, TrialRecord]] = []
    failed: list[tuple[int, TrialRecord]] = []
    left_out = 0
    for sweep in sweeps:
        paths = load_paths(sweep)
        spec = load_spec(paths.folder / paths.SPEC)
        for name, kind in (
            ("space", json.dumps(spec.search_space().to_data())),
            ("metric", str(spec.metric)),
            ("kimg of a trial", f"{spec.budget.kimg:g}"),
            ("cadence", f"{EvaluationOptions.model_validate(spec.base['evaluation']).every_kimg:g} kimg"),
        ):
            if kinds.setdefault(name, kind) != kind:
                raise ValueError(
                    f"sweeps recorded together have one {name}, but {sweep} has {kind}, and others have {kinds[name]}"
                )
        records = RecordBook(paths.trials).all()
        whole += [(spec.seed, record) for record in records if record.state == State.COMPLETE]
        failed += [(spec.seed, record) for record in records if record.fault == Fault.TRAINING]
        left_out += len(records)
    if not whole:
        raise ValueError(
            f"no trial of {', '.join(map(str, sweeps))} ran to its end: record sweeps with scheduler: {{name: none}}"
        )
    evaluations = {len(record.reports) for _, record in whole}
    if len(evaluations) > 1:
        raise ValueError(f"whole trials must have equally many evaluations, but there are {sorted(evaluations)}")
    (count,) = evaluations
    runs = tuple(_run(record, seed, count) for seed, record in [*whole, *failed])
    made_by = f"{len(runs)} trials of {', '.join(sorted({sweep.resolve().name for sweep in sweeps}))}"
    recording = Recording(spec.search_space(), str(spec.metric), whole[0][1].kimg / count, made_by, runs)
    recording.write(out)
    return recording, left_out - len(runs)


def _run(record: TrialRecord, seed: int, evaluations: int) -> Run:
    reports = [report for report in record.reports if not report["problem"]]
    scores = [report["score"] for report in reports] + [math.nan] * (evaluations - len(reports))
    seconds = [report["seconds_training"] + report.get("seconds_evaluating", 0.0) for report in record.reports]
    # The first interval has the warm-up of a fresh group in it.
    return Run(record.values, seed, tuple(scores), float(np.median(seconds[1:] or seconds)) if seconds else 0.0)


def _key(config: Config) -> str:
    return json.dumps({path: label(value) for path, value in sorted(config.items())})


def _best(scores: np.ndarray) -> float:
    finite = scores[np.isfinite(scores)]
    return float(finite.min()) if len(finite) else math.inf


def _mean(scores: np.ndarray) -> np.ndarray:
    """The mean curve of runs [runs, evaluations] over those that have not failed; NaN where all have."""
    known = np.isfinite(scores)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, scores, 0).sum(axis=0) / np.maximum(count, 1), math.nan)
