"""Digests of content, by which damage is noticed. Imports torch only where tensors are looked at."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """blake2b of names, types, shapes and values of contiguous tensors on the CPU, in hexadecimal; in any order."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def json_digest(content: Any) -> str:
    """sha256 of JSON data, in hexadecimal, however they are written."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def archive_damage(file: Path | IO[bytes]) -> str | None:
    """What is wrong with a PyTorch file, by its checksums, which PyTorch writes but never looks at; None: nothing."""
    try:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()
    except Exception as error:  # of many kinds: whichever the damaged bytes lead the reader into
        return f"it is no whole archive of tensors: {error}"
    return None if broken is None else f"the checksum of {broken} does not match its content"
