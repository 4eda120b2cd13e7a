"""Ways in which a disk or a person damages a file."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

HARMS: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut to a byte": lambda data: data[:1],
    "cut near its beginning": lambda data: data[: min(100, len(data) // 2)],
    "cut in half": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "zeros at its end": lambda data: data[: len(data) * 3 // 4] + bytes(len(data) - len(data) * 3 // 4),
    "zeros in its middle": lambda data: data[: len(data) // 3] + bytes(64) + data[len(data) // 3 + 64 :],
    "all zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"not what it was",
    "of another kind": lambda data: b"\x80\x02}q\x00." + data,
}


def flips(data: bytes, count: int, seed: int = 0) -> list[tuple[int, bytes]]:
    """The data with one bit flipped, in ``count`` places that cover it evenly: (place, damaged data)."""
    random, found = Random(seed), []
    for index in range(count):
        place = min(len(data) - 1, index * len(data) // count + random.randrange(max(1, len(data) // count)))
        found.append((place, data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]))
    return found
