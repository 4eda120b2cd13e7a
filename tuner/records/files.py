"""The two files of a trial's record: a header that is rewritten, and a journal of reports that only grows.

Both are strict JSON (no NaN, no infinity) with a checksum of their own text, so that damage is told from what was written. A
line is appended in one piece before anything is answered: a driver killed at any moment leaves at most one torn line, the last.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = "record.json"
REPORTS = "reports.jsonl"

_SEAL = re.compile(rb', "crc32": "([0-9a-f]{8})"\}\s*\Z')


class DamagedError(ValueError):
    """A file does not hold what was written to it; the message says what is wrong, for a sentence that names the file."""


def seal(data: dict[str, Any], indent: int | None = None) -> bytes:
    """JSON of ``data``, which has at least one entry, with the CRC-32 of its text as last entry; ends with a newline.

    Numbers that are not finite become ``{"float": "nan"}``: `unseal` gives the same floats back.
    """
    try:
        text = json.dumps(data, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_strict(data), indent=indent, allow_nan=False)
    body = text[:-1].rstrip().encode()
    return body + b', "crc32": "%08x"}\n' % zlib.crc32(body)


def unseal(raw: bytes) -> dict[str, Any]:
    """What `seal` was given. DamagedError when a byte of it has changed."""
    found = _SEAL.search(raw)
    if found is None:
        raise DamagedError("is empty" if not raw.strip() else "was cut or overwritten")
    body = raw[: found.start()]
    if int(found[1], 16) != zlib.crc32(body):
        raise DamagedError("does not match its checksum")
    return load_json(body + b"}")


def load_json(raw: bytes) -> dict[str, Any]:
    """A JSON object, with `seal`'s floats. DamagedError when it is none."""
    try:
        data = json.loads(raw, object_hook=_floats if b'"float"' in raw else None)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DamagedError(f"is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise DamagedError("is not a JSON object")
    return data


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value


def _floats(found: dict[str, Any]) -> Any:
    return float(found["float"]) if found.keys() == {"float"} else found


def append(path: Path, at: int, data: bytes) -> int:
    """Writes ``data`` at ``at``, where what is known of the file ends, and returns the new end.

    The file must not be shorter. What lies beyond ``at`` is a write that was torn, and goes. On OSError the file ends at ``at``
    again, at the latest when the append is retried: to retry is always safe.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if os.fstat(file).st_size > at:
            os.ftruncate(file, at)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(file, data[written:], at + written)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, at)
            raise
    finally:
        os.close(file)  # where a network's storage may say only now that it is full
    return at + len(data)


def size_of(path: Path) -> int:
    """A file's bytes; 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass
class Journal:
    """What a file of reports holds."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    whole: int = 0  # of these lines, those that end in a newline
    size: int = 0  # bytes up to there

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Reads a journal; its last line is left out when it is torn. DamagedError when another one is not as it was written."""
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return cls()
        *whole, tail = raw.split(b"\n")
        journal = cls(whole=len(whole), size=len(raw) - len(tail))
        for number, line in enumerate(whole, start=1):
            try:
                journal.lines.append(unseal(line))
            except DamagedError as error:
                raise DamagedError(f"is damaged: line {number} {error}") from None
        with contextlib.suppress(DamagedError):
            journal.lines.append(unseal(tail))  # only its newline is missing
        return journal
