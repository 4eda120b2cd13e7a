"""What a data format is: pictures, by name and as undecoded bytes, out of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainables.data.files import SourceFile

MAX_FILE_BYTES = 512 * 2**20

Wanted = Callable[[str], bool]
"""Tells by its name whether a picture is asked for."""


@dataclass(frozen=True)
class Picture:
    """An undecoded picture. ``read`` may be called once, in any thread; an exception it raises is the picture's problem."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class DataFormat:
    """Reads the files whose extension is in ``suffixes`` (lower case, with the dot).

    ``pictures(files, wanted, column)`` yields the wanted pictures in an order that the files alone determine; it raises
    `DataError` where a file as a whole cannot be read.
    """

    suffixes: tuple[str, ...]
    pictures: Callable[[list[SourceFile], Wanted, str | None], Iterator[Picture]]
    one_each: bool = False
    """Whether every file is one picture of the same name, so that their number is known before any is read."""


def refuse_huge(size: int) -> None:
    """Raises ``ValueError`` where a picture's file is too large to be read into memory."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"the file has {size / 2**20:.0f} MiB or more; at most {MAX_FILE_BYTES // 2**20} MiB are read")
