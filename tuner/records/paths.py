"""Every path of a sweep, below its folder ``<storage>/<name>``."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.storage import Storage


def cache_dir() -> str:
    """Where packed pictures and statistics are kept, on each machine."""
    return os.environ.get("GANSWEEP_CACHE", "~/.cache/gansweep")


def trial_folder(number: int) -> str:
    """The folder of trial ``number`` below the sweep's ``trials``."""
    return f"{number:04d}"


class SweepPaths:
    """Names of a sweep's files, and the storages rooted where its parts live."""

    SPEC = "spec.yaml"
    JOURNAL = "optuna.journal"
    LEADERBOARD = "leaderboard.json"
    TRIALS_TABLE = "trials.parquet"
    HISTORY_TABLE = "history.parquet"
    FINALISTS = "finalists.json"
    SOURCES = "sources.json"
    SCHEDULER = "scheduler.jsonl"
    LEASE = "driver.lease"

    def __init__(self, root: str | Path) -> None:
        self.storage = Storage(root)

    @property
    def folder(self) -> Path:
        """The sweep's folder. Journal and TensorBoard append to files, so it must be local or a shared mount."""
        local = self.storage.local
        if local is None:
            raise ValueError(f"a sweep's storage must be a local or shared folder, but got {self.storage.root}")
        return local

    @property
    def trials(self) -> Storage:
        """The folder of all trials."""
        return self.storage.at("trials")

    def trial(self, number: int) -> Storage:
        """The folder of one trial."""
        return self.trials.at(trial_folder(number))

    def tensorboard(self, number: int | None = None) -> Path:
        """Where TensorBoard events go: of one trial, or of all."""
        folder = self.folder / "tb"
        return folder if number is None else folder / trial_folder(number)

    def export(self, name: str) -> Path:
        """An export's folder."""
        return self.folder / "export" / name


def load_paths(sweep: Path) -> SweepPaths:
    """The paths of an existing sweep. ValueError when the folder is none."""
    paths = SweepPaths(sweep)
    if not paths.storage.exists(paths.SPEC):
        near = sorted(str(p.parent) for p in sweep.parent.glob(f"*/{paths.SPEC}")) if sweep.parent.is_dir() else []
        hint = f"; sweeps there: {', '.join(near)}" if near else ""
        raise ValueError(f"{sweep} is not a sweep: it has no {paths.SPEC}{hint}")
    return paths
