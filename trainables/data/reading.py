"""Files → decoded pictures, in order, by a pool of threads (Pillow decodes and resizes without the interpreter's lock).

More threads than processors, because a remote file system answers late; no more than processors decode at once, because a
decoded picture takes memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatchcase
from threading import Semaphore

from trainables.data.decode import Decoded, decode, decode_native, our_limits
from trainables.data.files import SourceFile
from trainables.data.formats import DataFormat, Picture
from trainables.data.options import DataOptions

_THREADS = 16
# Enough to keep the threads busy, few enough to bound memory.
_IN_FLIGHT = {"square": 2 * _THREADS, "native": 4}

Progress = Callable[[int, int | None], None]
"""Told after each picture: how many are done, and of how many, where that is known before all are read."""


def decode_all(
    data_format: DataFormat, files: list[SourceFile], options: DataOptions, progress: Progress | None = None
) -> Generator[tuple[str, Decoded | str], None, None]:
    """(name, decoded picture or the reason why there is none) for every wanted picture, in the format's order.

    Close it (`contextlib.closing`): threads and process-wide limits live as long as the generator does.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    turns = Semaphore(min(_THREADS, processors))
    pictures = data_format.pictures(files, lambda name: included(name, options.include), options.column)
    total = sum(included(file.name, options.include) for file in files) if data_format.one_each else None
    running: deque[tuple[str, Future[Decoded | str]]] = deque()
    done = 0

    def oldest() -> tuple[str, Decoded | str]:
        nonlocal done
        name, future = running.popleft()
        result = future.result()
        done += 1
        if progress is not None:
            progress(done, total)
        return name, result

    with our_limits(), ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        try:
            for picture in pictures:
                running.append((picture.name, pool.submit(_decode_one, picture, options, turns)))
                if len(running) > _IN_FLIGHT[options.crop]:
                    yield oldest()
            while running:
                yield oldest()
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for the pictures in flight


def included(name: str, patterns: str | None) -> bool:
    """Whether ``name`` matches one of the glob patterns joined by ``|``, as a whole or by its last part."""
    if patterns is None:
        return True
    last = name.rsplit("/", 1)[-1]
    return any(fnmatchcase(name, pattern) or fnmatchcase(last, pattern) for pattern in patterns.split("|"))


def _decode_one(picture: Picture, options: DataOptions, turns: Semaphore) -> Decoded | str:
    try:
        data = picture.read()
    except Exception as error:  # whatever a file system, archive or codec raises is this one picture's problem
        reason = error.strerror if isinstance(error, OSError) else None
        return f"cannot be read: {reason or str(error) or type(error).__name__}"
    try:
        with turns:
            return (decode if options.crop == "square" else decode_native)(data, options.resolution, options.background)
    except ValueError as error:
        return str(error)
