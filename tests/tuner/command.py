"""The real `gansweep` command, run in this process on a small spec; Ray must not start."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from tuner.cli import app

SPEC: dict[str, Any] = {
    "name": "s",
    "data": {"path": "images", "resolution": 32},
    "trial": {"batch_size": 4, "evaluation": {"metric": "fid[efficientnet_lite0,32px,n=8]"}},
    "space": {
        "backbone": {"choice": ["efficientnet_lite0", "efficientnet_lite1"]},
        "discriminator.frozen_depth": {"int": {"low": 0, "high": 5}},
        "feature_loss.layers": [
            {"when": {"backbone": "efficientnet_lite0"}, "choice": [[], ["blocks.1"]]},
            {"when": {"backbone": "efficientnet_lite1"}, "choice": [[], ["blocks.2"]]},
        ],
        "optimizer.generator_lr": {"float": {"low": 1e-4, "high": 1e-3, "log": True}},
    },
    "budget": {"trials": 3, "kimg": 2},
    "scheduler": {"name": "successive_halving", "grace_kimg": 0.5},
    "storage": "sweeps",
}

GONE = object()
"""A value in `changed` that takes the key out."""


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


class ReachedRay(Exception):  # noqa: N818 - not an error: the checks are behind us
    """Raised where the sweep would connect to Ray."""


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The small spec with changes: keys are paths with slashes (a space's keys hold dots)."""
    data = copy.deepcopy(SPEC)
    for path, value in changes.items():
        *parents, leaf = path.split("/")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        if value is GONE:
            del target[leaf]
        else:
            target[leaf] = value
    return data


def line_of(text: str, key: str) -> int:
    """The line, from 1, on which the last part of ``key`` first stands."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f"{key}:"))


@dataclass(frozen=True)
class Command:
    """Writes specs into ``folder`` and runs commands on them."""

    folder: Path

    @property
    def file(self) -> Path:
        """The spec."""
        return self.folder / "sweep.yaml"

    def run(self, changes: dict[str, Any] | None = None, *arguments: str, text: str | None = None) -> Said:
        """`gansweep run` on the small spec with changes, or on a text."""
        self.file.write_text(text if text is not None else yaml.safe_dump(changed(changes or {}), sort_keys=False))
        return self("run", str(self.file), *arguments)

    def __call__(self, *arguments: str) -> Said:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def problems(self, changes: dict[str, Any] | None = None, *arguments: str, text: str | None = None) -> list[str]:
        """The lines of a refusal, one for each problem, each in the form ``line: key: message`` (line 0: not in the file)."""
        said = self.run(changes, *arguments, text=text)
        assert said.code == 2, said
        assert said.out == ""
        head, _, rows = said.err.partition("\n")
        lines = [line for line in rows.splitlines() if line]
        found = [line.removeprefix(f"{self.file}:") for line in lines if not line.startswith("  ")]
        assert head == f"error: {len(found)} problem{'s' if len(found) > 1 else ''} to mend before anything starts:"
        assert len(set(found)) == len(found)
        return found


IN_A_FRESH_PROCESS = """
import sys
from tuner.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
packages = {name.partition(".")[0] for name in sys.modules}
print(sorted(packages & {"ray", "optuna", "tensorboard", "search_spaces", "cluster"}))
"""


def in_a_fresh_process(*arguments: object) -> list[str]:
    """The lines that `gansweep` prints, and in a last one which packages of the cluster and the search it loaded."""
    command = [sys.executable, "-W", "error", "-c", IN_A_FRESH_PROCESS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def pictures(folder: Path, make: Callable[[Path], Any]) -> Path:
    """A new folder that ``make`` has filled."""
    folder.mkdir()
    make(folder)
    return folder
