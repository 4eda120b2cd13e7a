"""What must hold between a spec and the world it names, before a GPU starts: images, weights, source checkpoint, storage."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trainables.backbones import BACKBONES, WeightsNotFoundError, load_backbone
from trainables.data import DataError, load_dataset
from trainables.evaluation import load_pictures
from trainables.metrics import parse_any_metric
from trainables.metrics.inception import InceptionWeightsNotFoundError, load_inception
from trainables.metrics.paired import PAIRED, LpipsWeightsNotFoundError, PairedName
from tuner.spec.checks import example_configs
from tuner.spec.fingerprint import FINGERPRINT, changes
from tuner.spec.loading import load_spec
from tuner.spec.model import SweepSpec
from tuner.spec.problems import Problem
from tuner.spec.source_fit import source_problems

_BEFORE_A_SWEEP = {FINGERPRINT, "driver.lease", "driver.lease.lock", "sources.json"}


def preflight(spec: SweepSpec, cache_dir: Path, *, resuming: bool = False) -> list[tuple[str, str]]:
    """Looks at everything the spec names: images, weights, source checkpoint, storage.

    Returns:
        (file, reason) of each image left out under ``on_bad_image: skip``.

    Raises:
        SpecError: with every problem found.
    """
    problems: list[Problem] = []
    skipped: list[tuple[str, str]] = []
    if not resuming and spec.root.exists() and not _is_untouched(spec.root):
        problems.append(Problem("name", _taken(spec.root)))
    else:
        problems.extend(_storage_problem(spec))
    if resuming:
        problems.extend(_changed_on_resume(spec))
    try:
        pictures = load_pictures(spec.task, spec.data, str(cache_dir))
        skipped = [*load_dataset(spec.data, cache_dir).skipped]
        largest, count = max(config.batch_size for config in example_configs(spec)), len(pictures.train)
        if count < largest:
            rest = " to train on" if pictures.held_out is not pictures.train else ""
            problems.append(Problem("data.path", f"must hold at least a batch of images ({largest}){rest}, but holds {count}"))
    except DataError as error:
        problems.append(Problem("data.path", str(error)))
    except OSError as error:
        problems.append(Problem("storage", f"the packed images cannot be written to {cache_dir}: {error}"))
    problems.extend(source_problems(spec))
    problems.extend(_weight_problems(spec))
    if resuming and not problems:
        problems.extend(changes(spec, cache_dir))
    if problems:
        raise spec.error(problems)
    return skipped


def _is_untouched(root: Path) -> bool:
    """Whether a folder is empty, but for what a sweep writes before it is one."""
    return root.is_dir() and {file.name for file in root.iterdir()} <= _BEFORE_A_SWEEP


def _taken(root: Path) -> str:
    if not (root / "spec.yaml").is_file():
        return f"choose another name, or storage: {root} is already there and is no sweep"
    return f"the sweep {root} is already there: go on with it by `gansweep resume {root}`, or choose another name"


def _changed_on_resume(spec: SweepSpec) -> Iterator[Problem]:
    """What would make the trials to come another experiment than those before, whose scores they are compared with."""
    before, now = (part.model_dump(mode="json") for part in (load_spec(spec.root / "spec.yaml"), spec))
    for data in before, now:
        # The same pictures may have been moved; whether they are the same is the fingerprint's to say.
        data["data"].pop("path")
        data["task"].pop("style", None)
    if before["source"] != now["source"] and dict in map(type, (before["source"], now["source"])):
        rule = "the choice of sources cannot change in a resumed sweep, which knows them by their paths, in their order"
        yield Problem("source", f"{rule}. It was {before['source']!r}, and is {now['source']!r} now")
    for section in ("task", "data", "trial", "space", "seed"):
        for key, old, new in _differences(section, before[section], now[section]):
            rule = "cannot change in a resumed sweep, whose trials are compared with those before: start one under another name"
            yield Problem(key, f"{rule}. It was {old!r}, and is {new!r} now")


def _differences(key: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(f"{key}.{name}", old.get(name), new.get(name))
    elif old != new:
        yield key, old, new


def _storage_problem(spec: SweepSpec) -> list[Problem]:
    if "://" in spec.storage:
        return [Problem("storage", f"must be a local or shared folder (the journal appends to a file), but got {spec.storage}")]
    probe = spec.root / f".probe-{uuid.uuid4().hex[:8]}"
    made = [folder for folder in (spec.root, *spec.root.parents) if not folder.exists()]
    try:
        spec.root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return [Problem("storage", f"must be a folder that can be written, but {spec.storage} cannot: {error.strerror or error}")]
    finally:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
    return []


def _weight_problems(spec: SweepSpec) -> Iterator[Problem]:
    wanted = {(config.backbone, config.weights): "trial.weights" for config in example_configs(spec)}
    names = [name for config in example_configs(spec)[:1] for name in config.evaluation.names]
    if spec.finalists:
        names.append(spec.finalists.metric)
    metrics = [parse_any_metric(name) for name in names]
    extractors = {metric.extractor for metric in metrics if not isinstance(metric, PairedName)}
    wanted |= {(name, "pretrained"): "trial.evaluation.metric" for name in sorted(extractors) if name in BACKBONES}
    for (name, weights), key in wanted.items():
        try:
            load_backbone(BACKBONES[name], weights)
        except (WeightsNotFoundError, ValueError) as error:
            yield Problem(key, str(error))
    for metric in metrics:
        if isinstance(metric, PairedName):
            try:
                PAIRED[metric.kind](metric.network, torch.device("cpu"))
            except LpipsWeightsNotFoundError as error:
                yield Problem("trial.evaluation.metric", str(error))
    if "inception" in extractors:
        try:
            load_inception()
        except (InceptionWeightsNotFoundError, ValueError) as error:
            yield Problem("finalists.metric", str(error))
