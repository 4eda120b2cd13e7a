"""Scoring generators outside a trial: the finalists by another metric, and the source generator that fine-tuning started from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
import torch
from torch import nn

from trainables.checkpoint import TrialFiles
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import DataOptions
from trainables.evaluation import FixedInputs, TrialEvaluator, load_pictures
from trainables.metrics import parse_any_metric
from trainables.networks import build_generator, build_task, make_pictures, z_dim_of
from trainables.scoring import score as score_of
from trainables.source import open_source
from trainables.storage import Storage
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook
from tuner.spec import SweepSpec
from tuner.spec.trial_config import trial_config

SOURCE = -1  # stands for the source generator where a trial's number is expected


@dataclass(frozen=True)
class Candidate:
    """A generator to score: a trial's best, or the source's."""

    number: int
    config: TrialConfig
    storage: Storage  # of the trial; unused for the source


def score(candidate: Candidate, metrics: tuple[str, ...], data: DataOptions, cache_dir: str, device: str) -> dict[str, float]:
    """Each metric's value for one generator, by full name; the same samples as a trial's own evaluations."""
    config = candidate.config
    task = build_task(config.task, config.resolution)
    if candidate.number == SOURCE:
        generator = _source_generator(config)
        assert generator is not None
    else:
        generator = build_generator(config.generator, task, config.backbone)
        generator.load_state_dict(TrialFiles(candidate.storage, candidate.number).load_best()["ema"])
    generator.to(device).requires_grad_(False)
    pictures = load_pictures(config.task, data, cache_dir)
    inputs = FixedInputs(task, pictures, z_dim_of(generator), torch.device(device))
    evaluator = TrialEvaluator(metrics, inputs, cache_dir=cache_dir, collective=Collective())
    values = evaluator(lambda x: make_pictures(task, generator, x))
    return {name: values[name] for name in evaluator.asked}


def _source_generator(config: TrialConfig) -> nn.Module | None:
    """The source's generator at the trial's resolution, before anything is added to it or trained.

    None where the source holds a part alone: that is a start for trials, but makes no pictures itself.
    """
    assert config.source is not None
    source = open_source(config.source, discriminator=False)
    options = config.generator
    if source.generator is not None and source.generator["name"] == options.name:
        options = type(options).model_validate(source.generator)
    generator = build_generator(options, build_task(config.task, config.resolution), config.backbone)
    own, given = generator.state_dict(), source.part("generator.")
    if any(name not in given or given[name].shape != value.shape for name, value in own.items()):
        return None
    generator.load_state_dict({name: given[name] for name in own})
    return generator


def score_finalists(
    spec: SweepSpec, paths: SweepPaths, records: RecordBook, cache_dir: str
) -> Iterator[tuple[int, dict[str, float] | str]]:
    """Scores the best trials by the finalists' metric, and the source generator by it and by the sweep's own.

    Each is scored on one worker's share of the cluster, side by side; yields (trial or SOURCE, values) as they are done, or what
    went wrong in words, which costs no other finalist anything; writes ``finalists.json`` at the end.
    """
    best = records.ranking()[: spec.finalists.count] if spec.finalists else []
    wanted = (spec.finalists.metric,) if spec.finalists else ()
    jobs = [(Candidate(r.number, trial_config(spec.base, r.values), paths.trial(r.number)), wanted) for r in best]
    if len(spec.sources) == 1 and len(records):
        config = trial_config(spec.base, records.all()[0].values)
        if _source_generator(config) is not None:
            jobs.append((Candidate(SOURCE, config, paths.trials), (config.evaluation.metric, *wanted)))
    resources = spec.resources
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=2)(_score_task)
    device, threads = "cuda" if resources.gpus_per_worker else "cpu", max(1, int(resources.cpus_per_worker))
    pending = {task.remote(c, metrics, spec.data, cache_dir, device, threads): c for c, metrics in jobs}
    found: dict[int, dict[str, float] | str] = {}
    while pending:
        (ready,), _ = ray.wait(list(pending))
        number = pending.pop(ready).number
        try:
            found[number] = ray.get(ready)
        except ray.exceptions.RayError as error:
            found[number] = str(error).strip().splitlines()[-1]
        yield number, found[number]
    write_finalists(spec, paths, found)


def _score_task(
    candidate: Candidate, metrics: tuple[str, ...], data: DataOptions, cache_dir: str, device: str, threads: int
) -> dict[str, float]:
    torch.set_num_threads(threads)
    return score(candidate, metrics, data, cache_dir, device)


def write_finalists(spec: SweepSpec, paths: SweepPaths, found: Mapping[int, dict[str, float] | str]) -> None:
    """Writes ``finalists.json``: the metric, each finalist's value, best first, and the source generator's values.

    A finalist that could not be scored, or whose value is not finite, has the value null and comes last.
    """
    if spec.finalists is None and SOURCE not in found:
        return
    source = found.get(SOURCE)
    data: dict[str, Any] = {"source": {k: _finite(v) for k, v in source.items()} if isinstance(source, dict) else None}
    if spec.finalists:
        metric = parse_any_metric(spec.finalists.metric)
        rows: list[dict[str, Any]] = []
        for number, values in found.items():
            if number == SOURCE:
                continue
            if isinstance(values, dict):
                rows.append({"trial": number, "value": _finite(values[str(metric)])})
            else:
                rows.append({"trial": number, "value": None, "problem": values})
        rows.sort(key=lambda row: math.inf if row["value"] is None else score_of(metric, row["value"]))
        data |= {"metric": str(metric), "lower_is_better": metric.lower_is_better, "finalists": rows}
    paths.storage.write_bytes(paths.FINALISTS, json.dumps(data, indent=1, allow_nan=False).encode())


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def best_finalist(paths: SweepPaths) -> tuple[int, str, float] | None:
    """(trial, metric, value) of the finalist with the best value; None where finalists were not scored.

    Raises:
        ValueError: ``finalists.json`` is damaged.
    """
    if not paths.storage.exists(paths.FINALISTS):
        return None
    try:
        data = json.loads(paths.storage.read_bytes(paths.FINALISTS))
        rows = [row for row in data.get("finalists", ()) if row["value"] is not None]
        return (int(rows[0]["trial"]), str(data["metric"]), float(rows[0]["value"])) if rows else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        file = paths.folder / paths.FINALISTS
        raise ValueError(f"{file} is damaged ({error!r}): delete it, and `gansweep resume` scores the finalists anew") from None
