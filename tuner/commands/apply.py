"""``gansweep apply EXPORT PICTURE...``: an exported image-to-image generator on pictures of any size, large ones in tiles.

It imports neither Ray nor Optuna, so that it starts fast and runs where no sweep does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from rich.console import Console
from torch import nn

from trainables.data import DataError
from trainables.data.decode import Parts, opened, our_limits
from trainables.data.files import SourceFile
from trainables.data.formats import DataFormat, Picture, find_format
from trainables.data.formats.pictures import SUFFIXES
from trainables.exported import task_of
from trainables.png_file import png_file
from trainables.tasks import Task
from trainables.tiling import Tiling
from tuner.commands.exports import open_export
from tuner.commands.terminal import INTERRUPTED, bars, counted, errors, fail, print_json

_BACKGROUND = "white"  # of `DataOptions`, for exports that do not say what they were trained with


@dataclass(frozen=True, kw_only=True)
class Made:
    """A picture that was made."""

    picture: str
    file: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A picture that could not be made, and why."""

    picture: str
    reason: str


class Place(NamedTuple):
    """Files of one format with pictures in them."""

    prefix: str  # before their names, to show
    data_format: DataFormat
    files: list[SourceFile]


def run(export: Path, pictures: list[str], out: Path, device: str, max_megapixels: int, *, as_json: bool) -> None:
    """`gansweep apply`."""
    console = Console(stderr=as_json, markup=False, highlight=False, soft_wrap=True)
    made: list[Made] = []
    failed: list[Failed] = []
    try:
        generator, config = open_export(export, _device(device))
        task = task_of(config)
        if task.in_channels == 0:
            raise ValueError(f"{export} makes pictures from noise and takes none: use gansweep sample {export}")
        places = _places(pictures, out)
        out.mkdir(parents=True, exist_ok=True)
        known = all(place.data_format.one_each for place in places)
        total = sum(len(place.files) for place in places) if known else None
        with our_limits(), bars(console) as progress:
            for result in apply_all(generator, task, places, out, config.get("background", _BACKGROUND), max_megapixels):
                if isinstance(result, Made):
                    made.append(result)
                else:
                    failed.append(result)
                progress("pictures", len(made) + len(failed), total)
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        errors.print(f"interrupted; {counted(len(made), 'picture')} done: {out}")
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        rows = {"pictures": [asdict(one) for one in made], "failed": [asdict(one) for one in failed]}
        print_json({"export": str(export), "task": task.options.name, "out": str(out)} | rows)
    else:
        console.print(f"{counted(len(made), 'picture')}: {out}")
    if failed:
        lines = "\n".join(f"  {one.picture}: {one.reason}" for one in failed)
        fail(f"{counted(len(failed), 'picture')} could not be used:\n{lines}", code=1)


def apply_all(
    generator: nn.Module, task: Task, places: Sequence[Place], out: Path, background: str, max_megapixels: int
) -> Iterator[Made | Failed]:
    """Makes every picture of ``places`` in turn and writes it below ``out`` as ``<its name>.png``; inside `our_limits`.

    Raises:
        OSError: a picture cannot be written.
    """
    tiling = Tiling(generator, task, max_megapixels)
    taken: dict[str, str] = {}
    for place in places:
        try:
            for picture in place.data_format.pictures(place.files, lambda name: True, None):
                shown = place.prefix + picture.name
                try:
                    name = _file_name(picture.name)
                    if name in taken:
                        raise ValueError(f"{name} is that of {taken[name]} already: give them in two calls, each with its --out")
                    width, height = _make(tiling, picture, out / name, background)
                except (ValueError, torch.OutOfMemoryError) as error:
                    yield Failed(picture=shown, reason=str(error))
                    continue
                taken[name] = shown
                yield Made(picture=shown, file=str(out / name), width=width, height=height)
        except DataError as error:  # an archive or a Parquet file as a whole
            yield Failed(picture=place.prefix.rstrip("/"), reason=str(error))


def _make(tiling: Tiling, picture: Picture, file: Path, background: str) -> tuple[int, int]:
    """Writes what G makes of a picture, whole or not at all; returns its width and height. ValueError where it cannot."""
    try:
        data = picture.read()
    except Exception as error:  # whatever a file system, archive or codec raises is this one picture's problem
        reason = error.strerror if isinstance(error, OSError) else None
        raise ValueError(f"cannot be read: {reason or str(error) or type(error).__name__}") from error
    with opened(data) as image:
        if told := tiling.problem(image.height, image.width):
            raise ValueError(told)
        parts = Parts(image, tiling.task.picture_mode, background)
    height, width = (side * tiling.task.enlarges for side in parts.size)
    bands = tiling.bands(lambda *box: torch.from_numpy(parts(*box)).float() / 127.5 - 1, *parts.size)
    first = next(bands)  # before a file is begun
    with png_file(file, width, height) as write:
        for band in itertools.chain([first], bands):
            if not band.isfinite().all():
                raise ValueError("the generator's output is not finite")
            write(((band + 1) * 127.5).round().clamp(0, 255).byte())
    return width, height


def _file_name(name: str) -> str:
    """The name of what is made of a picture, below ``--out``."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:  # archives and tables may hold any name
        raise ValueError("its name leads out of the results' folder")
    return f"{path.with_suffix('') if path.suffix.lower() in SUFFIXES else path}.png"


def _places(pictures: Sequence[str], out: Path) -> list[Place]:
    """Where pictures are. ValueError that names every place at which there are none, or at which results would replace them."""
    places: list[Place] = []
    problems: list[str] = []
    target = out.resolve()
    for given in pictures:
        local = Path(given).expanduser()
        folder = (local if local.is_dir() else local.parent).resolve()
        if local.exists() and (target == folder or (local.is_dir() and folder in target.parents)):
            problems.append(f"--out {out} is among the pictures of {given}, which results could replace: choose another folder")
            continue
        try:
            data_format, files = find_format(given)
        except ValueError as error:
            problems.append(str(error))
            continue
        alone = data_format.one_each and len(files) == 1 and given.endswith(files[0].name)
        prefix = given.removesuffix(files[0].name) if alone else f"{given.rstrip('/')}/"
        places.append(Place(prefix, data_format, files))
    if problems:
        raise ValueError("\n".join(problems))
    return places


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each kind of device has its own way to be missing
        raise ValueError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return device
