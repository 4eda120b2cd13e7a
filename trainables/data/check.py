"""A look at the pictures before they are used: how many, which kinds, which are broken, which are there twice."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from trainables.data.duplicates import near_duplicates, thumbnail
from trainables.data.formats import find_format
from trainables.data.options import NAMED_FILES, BadFiles, DataError, DataOptions, describe_bad_files
from trainables.data.packing import refuse_unusable
from trainables.data.reading import Progress, decode_all


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What `check_data` found. ``str(report)`` is the report for people."""

    count: int
    """Pictures that can be decoded, mirrored ones not counted."""
    smallest: tuple[int, int]
    """(width, height) in pixels of the file with the fewest pixels; (0, 0) where there is none."""
    largest: tuple[int, int]
    """(width, height) in pixels of the file with the most pixels; (0, 0) where there is none."""
    enlarged: int
    """Pictures whose shorter side is below the resolution, so that they are blurred."""
    modes: dict[str, int]
    """Count of pictures by Pillow's mode (RGB, RGBA, L, P, I;16, CMYK, …), the most frequent first."""
    formats: dict[str, int]
    """Count of pictures by file format (PNG, JPEG, …), the most frequent first."""
    bad_files: BadFiles
    """(file, reason) of every picture that cannot be decoded."""
    near_duplicates: tuple[tuple[str, ...], ...]
    """Groups of names whose pictures are almost the same."""
    problem: str | None
    """Why `load_dataset` would refuse these options; None where it would not."""

    def __str__(self) -> str:
        lines = [
            f"{self.count} pictures, from {_by(self.smallest)} to {_by(self.largest)} pixels",
            f"formats: {_counts(self.formats)}; modes: {_counts(self.modes)}",
        ]
        if self.enlarged:
            lines.append(f"{self.enlarged} are smaller than the resolution and are enlarged")
        if self.near_duplicates:
            lines.append(f"{len(self.near_duplicates)} groups of near-duplicates:")
            lines += [f"  {', '.join(group)}" for group in self.near_duplicates[:NAMED_FILES]]
            if len(self.near_duplicates) > NAMED_FILES:
                lines.append(f"  … and {len(self.near_duplicates) - NAMED_FILES} more")
        if self.bad_files:
            lines += [f"{len(self.bad_files)} cannot be used:", describe_bad_files(self.bad_files)]
        return "\n".join(lines)


def check_data(options: DataOptions, progress: Progress | None = None) -> DataReport:
    """Decodes every picture that ``options`` describes and keeps none: nothing is written, and memory stays small.

    ``progress`` is called with (pictures done, pictures to do or None where that is not known yet).

    Raises:
        DataError: the path is missing, cannot be read, or holds no pictures. Broken pictures are reported, not raised.
    """
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    modes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    thumbnails: list[np.ndarray] = []
    bad_files: list[tuple[str, str]] = []
    with closing(decode_all(*find_format(options.path), options, progress)) as pictures:
        for name, picture in pictures:
            if isinstance(picture, str):
                bad_files.append((name, picture))
                continue
            names.append(name)
            sizes.append(picture.size)
            modes[picture.mode] += 1
            kinds[picture.format] += 1
            thumbnails.append(thumbnail(picture.pixels))
    groups = near_duplicates(np.stack(thumbnails)) if thumbnails else []
    return DataReport(
        count=len(names),
        smallest=min(sizes, key=np.prod, default=(0, 0)),
        largest=max(sizes, key=np.prod, default=(0, 0)),
        enlarged=sum(min(size) < options.resolution for size in sizes),  # none of native ones: those are bad files
        modes=dict(modes.most_common()),
        formats=dict(kinds.most_common()),
        bad_files=tuple(bad_files),
        near_duplicates=tuple(tuple(names[row] for row in group) for group in groups),
        problem=_problem(options, len(names), tuple(bad_files)),
    )


def _problem(options: DataOptions, count: int, bad_files: BadFiles) -> str | None:
    try:
        refuse_unusable(options, count, bad_files)
    except DataError as error:
        return str(error)
    return None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
