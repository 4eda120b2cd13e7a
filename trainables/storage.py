"""Whole-file, atomic writes under one root on any pyarrow filesystem: a local folder, NFS, or a URI such as ``s3://bucket/path``.

Imports torch only where tensors are saved or loaded: most of what lies in a sweep's folder is text.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pyarrow import fs

from trainables.digest import archive_damage

_LAST = "last.json"  # what `Storage.save` puts into a PyTorch file's archive beside what PyTorch does
_PART = re.compile(r"\.[0-9a-f]{8}\.part$")


class Storage:
    """Files below ``root``. Picklable: workers get a copy.

    A reader sees a file's old content or its new, never a part: a write goes to a temporary name, then is renamed.
    """

    def __init__(self, root: str | Path) -> None:
        # Links are kept: workers on other machines know a mount by the name that the user gave.
        self.root = str(root) if "://" in str(root) else os.path.abspath(Path(root).expanduser())
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
        self.write_parts(name, [data])

    def write_parts(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """As `write_bytes`, of parts that may take their time to come: what is there already is on its way meanwhile."""
        path = self._path(name)
        part = f"{path}.{uuid.uuid4().hex[:8]}.part"
        self._filesystem.create_dir(os.path.dirname(path), recursive=True)
        try:
            with self._filesystem.open_output_stream(part) as stream:
                for data in parts:
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

    def save(self, name: str, state: dict[str, Any], last: Callable[[], dict[str, Any]] | None = None) -> None:
        """Writes tensors, numbers, strings and containers of them as a PyTorch file.

        Args:
            last: gives JSON data that go into the file too, as further keys; called when all of ``state`` is on its way. What
                it raises ends the write, of which nothing is left.
        """
        import torch

        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.write_parts(name, [buffer.getbuffer()] if last is None else _and_last(buffer, last))

    def load(self, name: str) -> dict[str, Any]:
        """Reads what `save` wrote, onto the CPU, running no code of the file.

        Raises:
            ValueError: the file is damaged, down to a single bit, or holds more than tensors; the message names it.
        """
        import torch

        data, wrong = self.read_bytes(name), f"{self.root}/{name} is damaged or holds more than tensors"
        if damage := archive_damage(io.BytesIO(data)):
            raise ValueError(f"{wrong}: {damage}")
        try:
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # which recommends to load it with its code
            raise ValueError(f"{wrong}: it cannot be read without running code that is in it") from error
        except (RuntimeError, EOFError, ValueError, KeyError) as error:
            raise ValueError(f"{wrong}: {error}") from error
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for part in archive.namelist():
                if part.endswith(f"/{_LAST}"):
                    content |= json.loads(archive.read(part))
        if not isinstance(content, dict):
            raise ValueError(f"{self.root}/{name} holds no state but a {type(content).__name__}")
        return content

    def collect(self, older_than_s: float = 24 * 3600) -> int:
        """Deletes what writes left unfinished when their process was killed, here and in all folders below.

        Args:
            older_than_s: younger ones may be those of a process that is writing now.

        Returns:
            How many there were.
        """
        selector = fs.FileSelector(self._base, allow_not_found=True, recursive=True)
        count = 0
        for info in self._filesystem.get_file_info(selector):
            if info.type != fs.FileType.File or not _PART.search(info.base_name) or info.mtime_ns is None:
                continue
            if time.time() - info.mtime_ns / 1e9 > older_than_s:
                with contextlib.suppress(FileNotFoundError):
                    self._filesystem.delete_file(info.path)
                    count += 1
        return count

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base


def _and_last(buffer: io.BytesIO, last: Callable[[], dict[str, Any]]) -> Iterator[memoryview]:
    """A PyTorch file's archive but for its table of contents; then, when ``last`` has given them, further data and the table."""
    with zipfile.ZipFile(buffer, "a") as archive:
        folder, contents = archive.namelist()[0].partition("/")[0], archive.start_dir
        with buffer.getbuffer() as whole, whole[:contents] as tensors:
            yield tensors
        archive.writestr(zipfile.ZipInfo(f"{folder}/{_LAST}"), json.dumps(last()))  # without a date, as PyTorch's own
    yield buffer.getbuffer()[contents:]
