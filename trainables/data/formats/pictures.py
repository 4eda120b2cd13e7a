"""Picture files: one alone, or all below a folder."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from trainables.data.files import SourceFile
from trainables.data.formats.base import MAX_FILE_BYTES, DataFormat, Picture, Wanted, refuse_huge

# fmt: off
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".avif", ".jp2", ".j2k", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico",
)
# fmt: on


def _pictures(files: list[SourceFile], wanted: Wanted, column: str | None) -> Iterator[Picture]:
    for file in files:
        if wanted(file.name):
            yield Picture(file.name, partial(_read, file))


def _read(file: SourceFile) -> bytes:
    refuse_huge(file.size)
    with file.open() as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    refuse_huge(len(data))  # where the file system did not tell the size
    return data


PICTURES = DataFormat(suffixes=SUFFIXES, pictures=_pictures, one_each=True)
