"""``gansweep submit``: a sweep as a Ray Job."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from cluster.jobs import DEFAULT_ADDRESS, Jobs
from tuner.commands.input_errors import input_errors
from tuner.commands.shipped import CODE
from tuner.engine.group import TRAIN_ENVIRONMENT
from tuner.records.paths import load_paths
from tuner.spec import dump_spec, load_spec


def run(target: Path, address: str, overrides: list[str]) -> None:
    """`gansweep submit`: a spec starts a sweep, a sweep's folder goes on with it."""
    with input_errors(), tempfile.TemporaryDirectory() as folder:
        if target.is_dir():
            paths = load_paths(target)
            name, command = paths.folder.name, ["resume", str(paths.folder)]
            command += [part for override in overrides for part in ("--set", override)]
        else:
            spec = load_spec(target, overrides)
            # Resolved here, so that relative paths mean what they mean beside the spec.
            (Path(folder) / "spec.yaml").write_bytes(dump_spec(spec))
            name, command = spec.name, ["run", "spec.yaml"]
        jobs = Jobs(address)
        job = jobs.submit(
            shlex.join(["python", "-m", "tuner.cli", *command, "--address", "auto"]),
            working_dir=Path(folder),
            code=CODE,
            env_vars=TRAIN_ENVIRONMENT,
            metadata={"gansweep": name},
        )
    at = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    print(f"job: {job}")
    for verb in ("status", "logs -f", "stop"):
        print(f"  gansweep {verb} {job}{at}")
