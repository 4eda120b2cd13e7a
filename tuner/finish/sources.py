"""The ranking of the sources that a sweep searches, made once, before it, and kept in its folder for people to read."""

from __future__ import annotations

import json
from pathlib import Path

import ray
import torch

from trainables.data import DataOptions, load_dataset
from trainables.metrics import parse_metric
from trainables.source_ranking import RankedSource, rank_sources
from tuner.records.paths import SweepPaths
from tuner.spec import SweepSpec


def ranked_for(spec: SweepSpec, paths: SweepPaths, cache_dir: str) -> list[RankedSource]:
    """The sweep's sources, best first, by the features of its driving metric; writes ``sources.json``.

    Computed on one worker's share of the cluster that this process is connected to.
    """
    resources = spec.resources
    task = ray.remote(num_cpus=resources.cpus_per_worker, num_gpus=resources.gpus_per_worker, max_retries=2)(_rank_task)
    device, threads = "cuda" if resources.gpus_per_worker else "cpu", max(1, int(resources.cpus_per_worker))
    ranking: list[RankedSource] = ray.get(task.remote(spec.sources, str(spec.metric), spec.data, cache_dir, device, threads))
    data = {"metric": str(spec.metric), "sources": [one.as_json() for one in ranking]}
    paths.storage.write_bytes(paths.SOURCES, json.dumps(data, indent=1, allow_nan=False).encode())
    return ranking


def _rank_task(
    sources: tuple[str, ...], metric: str, data: DataOptions, cache_dir: str, device: str, threads: int
) -> list[RankedSource]:
    torch.set_num_threads(threads)
    folder = Path(cache_dir).expanduser()
    return rank_sources(sources, parse_metric(metric), load_dataset(data, folder), cache_dir=folder, device=device)
