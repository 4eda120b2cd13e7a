"""Source checkpoints: our own format, one safetensors file. Its metadata are JSON: the architecture, and a digest of the tensors.

D's pretrained trunk is not in it, so that a file can hold heads for several backbones.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainables.digest import tensors_digest
from trainables.discriminators import in_trunk
from trainables.source.source import DISCRIMINATOR, GENERATOR, Architecture, Source, described

SUFFIX = ".safetensors"
_METADATA, _DIGEST = "gansweep", "digest"


def save_source(
    file: Path,
    generator: nn.Module,
    discriminators: Mapping[str, nn.Module],
    metadata: Mapping[str, object],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes networks as a source checkpoint, whole or not at all.

    Args:
        discriminators: by the name of their backbone, or of their kind where they have no trunk.
        metadata: the architecture (keys ``generator``, ``discriminator`` and ``resolution``) and whatever else; JSON data.
        dtype: of the file; half precision makes it half as large.
    """
    tensors = {GENERATOR + name: value for name, value in generator.state_dict().items()}
    for whose, discriminator in discriminators.items():
        state = discriminator.state_dict()
        tensors |= {f"{DISCRIMINATOR}{whose}.{name}": value for name, value in state.items() if not in_trunk(name)}
    _write(file, {name: value.detach().to("cpu", dtype).contiguous() for name, value in tensors.items()}, metadata)


def write_source(file: Path, source: Source) -> None:
    """Writes a source as a source checkpoint, in its own precision, whole or not at all."""
    known = {key: value for key in ("generator", "discriminator", "resolution") if (value := getattr(source, key)) is not None}
    _write(file, {name: value.contiguous() for name, value in source.tensors.items()}, known | source.metadata)


def read(file: Path) -> Source:
    """A source checkpoint.

    Raises:
        ValueError: it is damaged or none.
    """
    with _opened(file) as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - not a dict
        found, digest = _described(file, handle.metadata())
    # Files of other tools and of earlier versions have none.
    if digest is not None and digest != tensors_digest(tensors):
        raise ValueError(f"source checkpoint {file} is damaged: its digest is not that of its tensors")
    return Source(tensors={name: tensor.float() for name, tensor in tensors.items()}, **vars(found))


def architecture(file: Path) -> Architecture:
    """What a source checkpoint says of itself, without its tensors. ValueError as for `read`."""
    with _opened(file) as handle:
        return _described(file, handle.metadata())[0]


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as handle:
            yield handle
    except (SafetensorError, OSError) as error:
        raise ValueError(f"source checkpoint {file} is not a safetensors file: {error}") from error


def _described(file: Path, metadata: Mapping[str, str] | None) -> tuple[Architecture, Any]:
    """The architecture and the digest."""
    try:
        data = json.loads((metadata or {}).get(_METADATA, "{}"))
        if not isinstance(data, dict):
            raise ValueError(f"they are no JSON object but {str(data)[:100]}")
        return described({key: value for key, value in data.items() if key != _DIGEST}), data.get(_DIGEST)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"source checkpoint {file} is damaged in its metadata: {error}") from error


def _write(file: Path, tensors: dict[str, Tensor], metadata: Mapping[str, object]) -> None:
    descriptor, part = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    os.close(descriptor)
    try:
        save_file(tensors, part, metadata={_METADATA: json.dumps({**metadata, _DIGEST: tensors_digest(tensors)})})
        os.chmod(part, 0o644)
        os.replace(part, file)
    except SafetensorError as error:  # its own, where the storage is full
        Path(part).unlink(missing_ok=True)
        raise OSError(f"{file} cannot be written: {error}") from error
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
