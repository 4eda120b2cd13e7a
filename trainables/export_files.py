"""The files of an export, and that they are what was written.

``generator.safetensors`` has no checksum of its own, and a config with a digit changed would build another generator: so
``config.json`` holds under ``sha256`` those of the weights and of its own other content. Exports made before that have none and
are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.digest import json_digest

FORMAT = 2
WEIGHTS, CONFIG, SAMPLES = "generator.safetensors", "config.json", "samples.png"
_DIGESTS = "sha256"


def write_files(folder: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes weights and config into ``folder``."""
    weights = save({name: value.contiguous() for name, value in state.items()})
    (folder / WEIGHTS).write_bytes(weights)
    config = json.loads(json.dumps({"format": FORMAT} | config))
    digests = {WEIGHTS: hashlib.sha256(weights).hexdigest(), CONFIG: json_digest(config)}
    (folder / CONFIG).write_text(json.dumps(config | {_DIGESTS: digests}, indent=1))


def read_files(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the config of an export.

    Raises:
        ValueError: the folder is no export, or a damaged one; the message names the file.
    """
    with _read_errors(folder):
        config, digests = _read_config(folder / CONFIG)
        data = (folder / WEIGHTS).read_bytes()
    if digests and hashlib.sha256(data).hexdigest() != digests.get(WEIGHTS):
        raise ValueError(f"{folder / WEIGHTS} is damaged, or of another export: its checksum is not the one in {folder / CONFIG}")
    try:
        return load(data), config
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The config of an export without its weights. ValueError as for `read_files`."""
    with _read_errors(folder):
        return _read_config(folder / CONFIG)[0]


@contextmanager
def _read_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{folder} is not an export: {error.filename or error} is missing") from error
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error


def _read_config(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The config and, apart from it, the digests that it holds; {} in older exports."""
    try:
        config = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:  # JSONDecodeError or UnicodeDecodeError; brackets without end
        raise ValueError(f"{file} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else config
        raise ValueError(f"{file}: format must be {FORMAT}, but got {str(found)[:100]}")
    digests = config.pop(_DIGESTS, {})
    if not isinstance(digests, dict) or (digests and json_digest(config) != digests.get(CONFIG)):
        raise ValueError(f"{file} is damaged: its checksum is not that of its content")
    return config, digests
