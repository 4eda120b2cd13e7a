"""What a user says about the pictures, and the error that says what is wrong with them."""

from __future__ import annotations

from typing import Literal

from PIL import ImageColor
from pydantic import Field, field_validator

from trainables.registry import Options

NAMED_FILES = 20

BadFiles = tuple[tuple[str, str], ...]
"""(file name, reason) of every picture that cannot be used."""


class DataOptions(Options):
    """Where the pictures are and how each becomes RGB squares."""

    path: str = Field(min_length=1)
    """Folder searched recursively, zip or tar archive, or Parquet file or folder; a local path, a URI such as
    `s3://bucket/pictures`, or `package:NAME/FOLDER` for files of an installed Python package."""
    resolution: int = Field(ge=4, le=2048)
    """Side of the square pictures, in pixels."""
    crop: Literal["square", "native"] = "square"
    """"square": the middle of each picture, resized to ``resolution``. "native": crops of that side out of each picture's own
    pixels, at random places in training, at fixed ones in evaluation."""
    background: str = "white"
    """Colour that transparent pixels are laid on: a CSS name or `#rrggbb`."""
    mirror: bool = False
    """Whether every picture is also shown left-right mirrored, which doubles the number of pictures."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """Whether a file that cannot be decoded refuses the whole load or is left out and reported."""
    include: str | None = None
    """Which pictures to take, as glob patterns of file names or relative paths joined by `|`; all where it is left out."""
    column: str | None = None
    """Parquet only: the column that holds the image bytes; found by type and name where it is left out."""

    @field_validator("background")
    @classmethod
    def _known_colour(cls, value: str) -> str:
        try:
            ImageColor.getrgb(value)
        except ValueError:
            raise ValueError(f"background must be a CSS colour name or #rrggbb, but got {value!r}") from None
        return value


class DataError(ValueError):
    """Pictures that cannot be used. The message holds every problem found; `bad_files` every file behind them."""

    def __init__(self, message: str, bad_files: BadFiles = ()) -> None:
        super().__init__(message, bad_files)  # both in `args`, so that the error survives pickling between processes
        self.bad_files = bad_files

    def __str__(self) -> str:
        return str(self.args[0])


def describe_bad_files(bad_files: BadFiles) -> str:
    """One indented line for each bad file, the first 20 by name and then a count."""
    lines = [f"  {name}: {reason}" for name, reason in bad_files[:NAMED_FILES]]
    if len(bad_files) > NAMED_FILES:
        lines.append(f"  … and {len(bad_files) - NAMED_FILES} more")
    return "\n".join(lines)
