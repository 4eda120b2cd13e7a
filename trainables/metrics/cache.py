"""Statistics of real images on disk, built once and checked before they are believed.

A file's name is the digest of everything its content depends on; the file repeats that description, and a digest of its own
tensors. It is written to a temporary name and renamed, so that a reader sees all of it or none. What is truncated, damaged or of
another origin is reported by a warning and built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import save_file

from trainables.digest import tensors_digest
from trainables.metrics.statistics import Statistics

CODE_VERSION = 1  # raise it whenever the features or statistics of the same images come out differently


class StatisticsCache:
    """Files ``<folder>/<digest of description>.safetensors``.

    Args:
        folder: made when missing; may be shared by any number of processes and, where the disk supports locks, machines.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, description: dict[str, str | int]) -> Path:
        text = json.dumps(description, sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.safetensors"

    @contextmanager
    def lock(self, description: dict[str, str | int]) -> Iterator[None]:
        """Held by one process at a time for the same description; freed by the system when a process dies."""
        with FileLock(self.path(description).with_suffix(".lock")):
            yield

    def read(self, description: dict[str, str | int]) -> Statistics | None:
        """What was stored under ``description``; None, with a warning, where the file is not what it should be."""
        path = self.path(description)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                origin = json.loads((file.metadata() or {}).get("origin", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if origin.get("description") != description:
                raise ValueError("it describes something else")
            if origin.get("digest") != tensors_digest(tensors):
                raise ValueError("its digest does not match its content")
            return Statistics(
                count=int(tensors["count"]), mean=tensors["mean"], scatter=tensors.get("scatter"), rows=tensors["rows"]
            )
        except Exception as error:  # whatever is wrong with a cache file, the answer is the same: build it again
            warnings.warn(f"cached statistics {path} cannot be used and are built again: {error}", stacklevel=2)
            return None

    def write(self, description: dict[str, str | int], statistics: Statistics) -> None:
        tensors = {"count": torch.tensor(statistics.count), "mean": statistics.mean, "rows": statistics.rows}
        if statistics.scatter is not None:
            tensors["scatter"] = statistics.scatter
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path = self.path(description)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            # One entry: the order of several is not fixed, and equal content should make equal files.
            origin = json.dumps({"description": description, "digest": tensors_digest(tensors)}, sort_keys=True)
            save_file(tensors, partial, metadata={"origin": origin})
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
