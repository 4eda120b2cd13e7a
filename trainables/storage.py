"""Whole-file, atomic writes under one root on any pyarrow filesystem: a local folder, NFS, or a URI such as ``s3://bucket/path``.

Imports torch only where tensors are saved or loaded: most of what lies in a sweep's folder is text.
"""

from __future__ import annotations

import io
import os
import pickle
import uuid
from pathlib import Path
from typing import Any

from pyarrow import fs


class Storage:
    """Files below ``root``. Picklable: workers get a copy.

    A reader sees a file's old content or its new, never a part: a write goes to a temporary name, then is renamed.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root) if "://" in str(root) else str(Path(root).expanduser().resolve())
        self._filesystem, self._base = fs.FileSystem.from_uri(self.root)

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.root,)

    def at(self, name: str) -> Storage:
        """The storage rooted at folder ``name`` of this one."""
        path, mark, query = self.root.partition("?") if "://" in self.root else (self.root, "", "")
        return Storage(f"{path}/{name}{mark}{query}")

    @property
    def local(self) -> Path | None:
        """The root as a local path; None when it is remote."""
        return Path(self._base) if isinstance(self._filesystem, fs.LocalFileSystem) else None

    def write_bytes(self, name: str, data: bytes) -> None:
        """Writes a file atomically, creating its folders. OSError when the storage cannot be written."""
        path = self._path(name)
        part = f"{path}.{uuid.uuid4().hex[:8]}.part"
        self._filesystem.create_dir(os.path.dirname(path), recursive=True)
        try:
            with self._filesystem.open_output_stream(part) as stream:
                stream.write(data)
            self._filesystem.move(part, path)
        except BaseException:
            if self._filesystem.get_file_info(part).type != fs.FileType.NotFound:
                self._filesystem.delete_file(part)
            raise

    def read_bytes(self, name: str) -> bytes:
        """A file's content. FileNotFoundError when it is not there."""
        with self._filesystem.open_input_stream(self._path(name)) as stream:
            return stream.read()

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder of that name."""
        return self._filesystem.get_file_info(self._path(name)).type != fs.FileType.NotFound

    def list(self, folder: str = "") -> list[str]:
        """Names of what lies right in ``folder``, sorted, without unfinished writes; [] when there is no such folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return sorted(info.base_name for info in self._filesystem.get_file_info(selector) if not info.base_name.endswith(".part"))

    def delete(self, name: str) -> None:
        """Deletes a file; nothing when it is not there."""
        if self.exists(name):
            self._filesystem.delete_file(self._path(name))

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes tensors, numbers, strings and containers of them as a PyTorch file."""
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write_bytes(name, buffer.getvalue())

    def load(self, name: str) -> dict[str, Any]:
        """Reads what `save` wrote, onto the CPU, running no code of the file. ValueError when the file is damaged."""
        import torch

        try:
            return torch.load(io.BytesIO(self.read_bytes(name)), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
            raise ValueError(f"{self.root}/{name} is damaged or holds more than tensors: {error}") from error

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base
