"""Data formats by name: each finds the pictures in the files it reads. A new one is one file and one line here."""

from __future__ import annotations

from trainables.data.files import SourceFile, list_files
from trainables.data.formats.archive import ARCHIVE
from trainables.data.formats.base import DataFormat, Picture, Wanted
from trainables.data.formats.parquet import PARQUET
from trainables.data.formats.pictures import PICTURES
from trainables.data.options import DataError
from trainables.registry import Registry

__all__ = ["FORMATS", "DataFormat", "Picture", "Wanted", "find_format"]

# In a folder that holds files of several kinds, the first format that reads any of them wins.
FORMATS: Registry[DataFormat] = Registry("data format", {"pictures": PICTURES, "archive": ARCHIVE, "parquet": PARQUET})


def find_format(path: str) -> tuple[DataFormat, list[SourceFile]]:
    """The format that reads ``path``, and the files there that it reads, sorted by name.

    Raises:
        DataError: nothing is there, or no format reads it; says which extensions are read.
    """
    files = list_files(path)
    for data_format in FORMATS.values():
        readable = [file for file in files if file.suffix in data_format.suffixes]
        if readable:
            return data_format, readable
    read = "; ".join(f"{name}: {' '.join(data_format.suffixes)}" for name, data_format in FORMATS.items())
    raise DataError(f"data path {path!r} holds no pictures ({_seen(files)}). Extensions that are read: {read}")


def _seen(files: list[SourceFile]) -> str:
    if not files:
        return "it is empty"
    suffixes = sorted({file.suffix or "none" for file in files})
    more = ", …" if len(suffixes) > 8 else ""
    return f"{len(files)} other files, with extensions {', '.join(suffixes[:8])}{more}"
