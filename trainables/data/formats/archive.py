"""Picture files inside zip and tar archives, read in place: one archive, or a folder of shards."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import PurePosixPath

from trainables.data.files import SourceFile, is_hidden
from trainables.data.formats import pictures
from trainables.data.formats.base import DataFormat, Picture, Wanted, refuse_huge
from trainables.data.options import DataError

_TAR = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
_READ_AHEAD = 2**20  # a remote file system asks for every read


def _pictures(files: list[SourceFile], wanted: Wanted, column: str | None) -> Iterator[Picture]:
    for file in files:
        prefix = f"{file.name}/" if len(files) > 1 else ""
        members = _zip_members if file.suffix == ".zip" else _tar_members
        try:
            yield from members(file, prefix, lambda name: _is_picture(name) and wanted(name))
        except Exception as error:  # whatever a file system or codec raises
            raise DataError(f"archive {file.name} cannot be read: {str(error) or type(error).__name__}") from error


def _is_picture(name: str) -> bool:
    return not is_hidden(name.removeprefix("./")) and PurePosixPath(name.lower()).suffix in pictures.SUFFIXES


def _zip_members(file: SourceFile, prefix: str, wanted: Wanted) -> Iterator[Picture]:
    with file.open() as raw, BufferedReader(raw, _READ_AHEAD) as stream, zipfile.ZipFile(stream) as archive:  # type: ignore[type-var]
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            if not member.is_dir() and wanted(prefix + member.filename):
                read: Callable[[], bytes] = partial(archive.read, member)
                yield _held(prefix + member.filename, member.file_size, read)


def _tar_members(file: SourceFile, prefix: str, wanted: Wanted) -> Iterator[Picture]:
    with file.open() as stream, tarfile.open(fileobj=stream, mode="r|*", bufsize=_READ_AHEAD) as archive:
        for member in archive:
            name = prefix + member.name.removeprefix("./")
            content = archive.extractfile(member) if member.isfile() and wanted(name) else None
            if content is not None:
                yield _held(name, member.size, content.read)


def _held(name: str, size: int, read: Callable[[], bytes]) -> Picture:
    # Read here, not in the decoding thread: an archive is one stream. A member's own failure belongs to that member.
    try:
        refuse_huge(size)
        data = read()
    except (ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        return Picture(name, partial(_raise, error))
    return Picture(name, lambda: data)


def _raise(error: Exception) -> bytes:
    raise error


ARCHIVE = DataFormat(suffixes=(".zip", *_TAR), pictures=_pictures)
