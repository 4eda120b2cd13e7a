"""The files behind a data path: local, remote (any pyarrow filesystem) or inside an installed package."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pyarrow import fs

from trainables.data.options import DataError

_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_PACKAGE = "package:"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file. ``name`` is its path below the data path, with forward slashes; ``size`` in bytes, -1 where unknown."""

    name: str
    size: int
    mtime_ns: int
    open: Callable[[], IO[bytes]]

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot; the two last ones of ``x.tar.gz``."""
        path = PurePosixPath(self.name.lower())
        return "".join(path.suffixes[-2:]) if path.suffixes[-2:-1] == [".tar"] else path.suffix


def list_files(path: str) -> list[SourceFile]:
    """All files at ``path`` (a file or a folder, searched recursively), sorted by name, hidden ones left out.

    Raises:
        DataError: nothing is there, or it cannot be listed.
    """
    try:
        files = list(_remote_files(path) if _URI.match(path) else _local_files(_local_root(path)))
    except DataError:
        raise
    except Exception as error:  # a file system written in Python raises errors of its own kinds
        raise DataError(f"data path {path!r} cannot be listed: {str(error) or type(error).__name__}") from error
    return sorted((file for file in files if not is_hidden(file.name)), key=lambda file: file.name)


def located(path: str) -> str:
    """``path`` in a form that does not depend on the working folder."""
    return path if _URI.match(path) or path.startswith(_PACKAGE) else os.path.abspath(Path(path).expanduser())


def is_hidden(name: str) -> bool:
    """Whether a relative path is one that tools leave behind, such as ``.ipynb_checkpoints/a.png`` or ``__MACOSX/._a.png``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _local_root(path: str) -> Path:
    if not path.startswith(_PACKAGE):
        root = Path(path).expanduser()
        if not root.exists():
            raise DataError(f"data path {path!r} does not exist{_nearest_parent(root)}")
        return root
    package, _, inside = path.removeprefix(_PACKAGE).partition("/")
    # Found without importing it, so none of the package's code runs.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"data path {path!r}: no Python package {package!r} is installed here")
    root = Path(spec.submodule_search_locations[0]) / inside
    if not root.exists():
        raise DataError(f"data path {path!r}: package {package!r} has no {inside!r}")
    return root


def _nearest_parent(path: Path) -> str:
    parent = next((p for p in path.absolute().parents if p.exists()), None)
    return "" if parent is None else f" (the nearest folder that does is {parent})"


def _local_files(root: Path) -> Iterator[SourceFile]:
    # Not pyarrow's listing: it loops through symbolic links and stops at names that are not UTF-8.
    if root.is_file():
        yield _local_file(root, root.name)
        return

    def refuse(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=refuse):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        for name in names:
            file = Path(folder, name)
            # A name that is not UTF-8 is shown with replacement marks: it must be printable and storable.
            shown = file.relative_to(root).as_posix().encode(errors="surrogateescape").decode(errors="replace")
            yield _local_file(file, shown)


def _local_file(path: Path, name: str) -> SourceFile:
    try:
        status = path.stat()
    except OSError:  # a dangling link: reported with the pictures that cannot be read, when it is opened
        return SourceFile(name=name, size=-1, mtime_ns=-1, open=partial(_open_local, path))
    return SourceFile(name=name, size=status.st_size, mtime_ns=status.st_mtime_ns, open=partial(_open_local, path))


def _open_local(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its writer forever
        raise OSError("not a regular file")
    return path.open("rb")


def _remote_files(uri: str) -> Iterator[SourceFile]:
    filesystem, root = fs.FileSystem.from_uri(uri)
    info = filesystem.get_file_info(root)
    if info.type == fs.FileType.NotFound:
        raise DataError(f"data path {uri!r} does not exist")
    found = [info] if info.type == fs.FileType.File else filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    base = PurePosixPath(root).parent if info.type == fs.FileType.File else PurePosixPath(root)
    for file in found:
        if file.type == fs.FileType.File:
            yield SourceFile(
                name=PurePosixPath(file.path).relative_to(base).as_posix(),
                size=file.size,
                mtime_ns=file.mtime_ns if file.mtime_ns is not None else -1,
                open=partial(_open_remote, filesystem, file.path),
            )


def _open_remote(filesystem: fs.FileSystem, path: str) -> IO[bytes]:
    return cast(IO[bytes], filesystem.open_input_file(path))
