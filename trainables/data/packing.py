"""The packed cache: all pictures as one uint8 array on disk, built once and shared by every trial and worker of a machine.

Squares are rows of an array [N, 3, R, R]. Pictures of their own sizes (`crop: native`) lie one after the other, each [H, W, 3],
so that a crop is read from few pages of the file; the index knows their sizes.

Two kinds of files lie in the cache folder. ``pictures-<content>.npy`` is the array, named by the hash of its pixels.
``index-<source>.json`` says which array a set of source files and options gave; it is named by their paths, sizes and
modification times, so that a second start neither reads nor decodes a picture. Both are written to a temporary name and
renamed; a lock for each index lets one process build while the others wait. Both are checked before they are believed, the array
by its hash (a second for a gigabyte): a bit that a disk has flipped would be a picture that nobody has ever seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from filelock import FileLock
from numpy.typing import NDArray

from trainables.data.files import SourceFile, located
from trainables.data.formats import DataFormat, find_format
from trainables.data.options import BadFiles, DataError, DataOptions, describe_bad_files
from trainables.data.reading import Progress, decode_all
from trainables.digest import json_digest

# Part of every key: raise it when the same files and options come to give other pixels, or an index comes to hold other fields.
_VERSION = 3

_TEMPORARY = ".writing-"
_ABANDONED_S = 24 * 3600.0
_HASHED_AT_ONCE = 2**24  # bytes
_checked: set[tuple[str, Path, int, int, int]] = set()  # files, as they were when their hash was right

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """What the cache knows of a packed array: its content hash, and the names behind its rows."""

    content_hash: str
    resolution: int
    names: tuple[str, ...]
    skipped: BadFiles
    sizes: tuple[tuple[int, int], ...] | None = None
    """(H, W) of every picture; None where all are squares of the resolution."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        if self.sizes is None:
            return len(self.names), 3, self.resolution, self.resolution
        return (sum(3 * height * width for height, width in self.sizes),)


def load_packed(options: DataOptions, cache_dir: Path, progress: Progress | None = None) -> tuple[Index, NDArray[np.uint8]]:
    """The index and the memory-mapped array for ``options``, uint8 [N, 3, R, R] or [bytes], from the cache or built now.

    ``progress`` is called while it is built, with (pictures done, pictures to do or None where that is not known yet).

    Raises:
        DataError: the pictures are missing or cannot be used.
        OSError: ``cache_dir`` cannot be written.
    """
    data_format, files = find_format(options.path)
    cache_dir.mkdir(parents=True, exist_ok=True)
    path = cache_dir / f"index-{_source_key(files, options)[:32]}.json"
    packed = _read(path, options)
    if packed is None:
        # The lock's file stays: removing it would let a waiting and a new process hold it both.
        with FileLock(path.with_suffix(".lock")):
            packed = _read(path, options, warn=True)
            if packed is None:
                _write(path, _build(data_format, files, options, cache_dir, progress))
                packed = _read(path, options, warn=True)
    if packed is None:
        raise OSError(f"the packed pictures written to {cache_dir} cannot be read back")
    return packed


def refuse_unusable(options: DataOptions, count: int, bad_files: BadFiles) -> None:
    """Raises `DataError` where ``count`` good pictures and these ``bad_files`` are not what ``options`` accepts."""
    where = f"data path {options.path!r}"
    listed = f":\n{describe_bad_files(bad_files)}"
    if count == 0 and bad_files:
        raise DataError(f"{where}: none of the {len(bad_files)} pictures can be used{listed}", bad_files)
    if count == 0:
        raise DataError(f"{where} holds no pictures" + (f" that match `include: {options.include}`" if options.include else ""))
    if bad_files and options.on_bad_image == "fail":
        remedy = "mend or remove them, or set `on_bad_image: skip` to go on without them"
        raise DataError(
            f"{where}: {len(bad_files)} of {count + len(bad_files)} pictures cannot be used; {remedy}{listed}", bad_files
        )


def _source_key(files: list[SourceFile], options: DataOptions) -> str:
    # Neither `mirror` nor `on_bad_image` changes the array. Pillow's version does: decoders differ in the last bit.
    what = options.model_dump(include={"resolution", "crop", "background", "include", "column"})
    stamp = [[file.name, file.size, file.mtime_ns] for file in files]
    text = json.dumps([_VERSION, PIL.__version__, located(options.path), what, stamp], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _build(
    data_format: DataFormat, files: list[SourceFile], options: DataOptions, cache_dir: Path, progress: Progress | None
) -> Index:
    _log.info("packing the pictures in %s (%d files) at %d px", options.path, len(files), options.resolution)
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    sizes: list[tuple[int, int]] | None = [] if options.crop == "native" else None
    digest = _new_digest(None if sizes is not None else options.resolution)
    with _replacing(cache_dir) as stream, closing(decode_all(data_format, files, options, progress)) as pictures:
        empty = Index("", options.resolution, (), (), None if sizes is None else ())
        header = _write_header(stream.file, empty)
        for name, picture in pictures:
            if isinstance(picture, str):
                skipped.append((name, picture))
                continue
            names.append(name)
            # Once a bad picture has refused the load, the others are decoded only to name every bad one.
            if not (skipped and options.on_bad_image == "fail"):
                if sizes is not None:
                    sizes.append((picture.pixels.shape[1], picture.pixels.shape[2]))
                    digest.update(_size_stamp(sizes[-1]))
                row = (picture.pixels if sizes is None else picture.pixels.transpose(1, 2, 0)).tobytes()
                digest.update(row)
                stream.file.write(row)
        refuse_unusable(options, len(names), tuple(skipped))
        own_sizes = None if sizes is None else tuple(sizes)
        index = Index(digest.hexdigest(), options.resolution, tuple(names), tuple(skipped), own_sizes)
        stream.file.seek(0)
        if _write_header(stream.file, index) != header:
            raise AssertionError("numpy no longer leaves room for the row count in the header")
        stream.target = cache_dir / array_name(index)
    return index


def _write(path: Path, index: Index) -> None:
    content = {"of": path.stem} | asdict(index)
    with _replacing(path.parent) as stream:
        stream.file.write(json.dumps(content | {"digest": json_digest(content)}).encode())
        stream.target = path


def array_name(index: Index) -> str:
    """The array's file in the cache folder."""
    return f"pictures-{index.content_hash[:32]}.npy"


def _write_header(file: IO[bytes], index: Index) -> int:
    """Writes the .npy header and gives its length, which numpy keeps the same while the first axis grows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": index.shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _read(path: Path, options: DataOptions, warn: bool = False) -> tuple[Index, NDArray[np.uint8]] | None:
    """The index at ``path`` and its array; None where there is none, they do not serve, or they are damaged (``warn`` tells)."""
    if not path.is_file():
        return None
    try:
        index = _parse_index(json.loads(path.read_text()), path.stem)
        # Bad pictures are not refused from memory: whoever mended a mount or a permission has changed no modification time.
        if index.skipped and options.on_bad_image == "fail":
            return None
        # Copy on write: pages are shared between processes, and torch does not warn of a read-only array.
        array = np.load(path.parent / array_name(index), mmap_mode="c", allow_pickle=False)
        if array.dtype != np.uint8 or array.shape != index.shape or not array.flags.c_contiguous:
            raise ValueError(f"the array is {array.dtype} {array.shape}, not uint8 {index.shape}")
        _check_pixels(array, path.parent / array_name(index), index)
    except Exception as error:  # whatever is wrong with a cache file, the answer is the same: build it again
        if warn:
            warnings.warn(f"the picture cache {path} is damaged and built again: {error}", RuntimeWarning, stacklevel=4)
        return None
    return index, array


def _parse_index(fields: Any, of: str) -> Index:
    digest = fields.pop("digest")
    if digest != json_digest(fields):
        raise ValueError("its digest is not that of its content")
    if fields["of"] != of:
        raise ValueError(f"it is {fields['of']}, of other pictures")
    return Index(
        content_hash=str(fields["content_hash"]),
        resolution=int(fields["resolution"]),
        names=tuple(str(name) for name in fields["names"]),
        skipped=tuple((str(name), str(reason)) for name, reason in fields["skipped"]),
        sizes=None if fields["sizes"] is None else tuple((int(height), int(width)) for height, width in fields["sizes"]),
    )


def _new_digest(resolution: int | None) -> Any:
    """The beginning of a content hash, to which the pixels are added in order, those of other sizes after their size."""
    return hashlib.sha256(f"uint8 rgb {resolution or 'native'}".encode())


def _size_stamp(size: tuple[int, int]) -> bytes:
    return f" {size[0]} {size[1]} ".encode()


def _check_pixels(array: NDArray[np.uint8], file: Path, index: Index) -> None:
    """ValueError where the array is not what was packed; each file is hashed once by a process, and again when it was changed."""
    status = file.stat()
    seen = index.content_hash, file, status.st_ino, status.st_size, status.st_mtime_ns
    if seen not in _checked:
        if _content_hash(array, index) != index.content_hash:
            raise ValueError(f"the pixels in {file.name} are not those that were packed")
        _checked.add(seen)


def _content_hash(array: NDArray[np.uint8], index: Index) -> str:
    digest = _new_digest(index.resolution if index.sizes is None else None)
    if index.sizes is not None:
        end = 0
        for height, width in index.sizes:
            start, end = end, end + 3 * height * width
            digest.update(_size_stamp((height, width)))
            digest.update(array[start:end])
        return str(digest.hexdigest())
    rows = max(1, _HASHED_AT_ONCE // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        digest.update(array[start : start + rows])
    return str(digest.hexdigest())


@dataclass
class _Replacing:
    file: IO[bytes]
    target: Path | None = None


@contextmanager
def _replacing(folder: Path) -> Iterator[_Replacing]:
    """A temporary file that becomes ``target`` when the block ends well, at once and whole; else it is removed."""
    for old in folder.glob(f"{_TEMPORARY}*"):  # left by processes that were killed while they built
        with suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > _ABANDONED_S:
                old.unlink()
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            stream = _Replacing(file)
            yield stream
            file.flush()
            os.fsync(file.fileno())
        if stream.target is None:
            raise AssertionError("no target was set")
        # mkstemp's files are private, and a cache on shared storage is read by other users' processes.
        os.chmod(temporary, 0o644)
        os.replace(temporary, stream.target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
