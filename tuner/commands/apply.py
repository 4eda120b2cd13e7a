"""``gansweep apply EXPORT PICTURE...``: an exported image-to-image generator on pictures of any size, one at a time.

It imports neither Ray nor Optuna, so that it starts fast and runs where no sweep does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from trainables.data import DataError
from trainables.data.decode import opened, our_limits, whole
from trainables.data.files import SourceFile
from trainables.data.formats import DataFormat, Picture, find_format
from trainables.data.formats.pictures import SUFFIXES
from trainables.exported import apply, task_of
from trainables.pictures import png
from trainables.storage import Storage
from trainables.tasks import Task
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
    storage = Storage(out)
    taken: dict[str, str] = {}
    for place in places:
        try:
            for picture in place.data_format.pictures(place.files, lambda name: True, None):
                shown = place.prefix + picture.name
                try:
                    name = _file_name(picture.name)
                    if name in taken:
                        raise ValueError(f"{name} is that of {taken[name]} already: give them in two calls, each with its --out")
                    image = _made(generator, task, picture, background, max_megapixels)
                except (ValueError, torch.OutOfMemoryError) as error:
                    yield Failed(picture=shown, reason=str(error))
                    continue
                storage.write_bytes(name, png(image))
                taken[name] = shown
                yield Made(picture=shown, file=str(out / name), width=image.shape[-1], height=image.shape[-2])
        except DataError as error:  # an archive or a Parquet file as a whole
            yield Failed(picture=place.prefix.rstrip("/"), reason=str(error))


def _made(generator: nn.Module, task: Task, picture: Picture, background: str, max_megapixels: int) -> Tensor:
    """What G makes of a picture: uint8 [3, H', W']. ValueError where it cannot."""
    try:
        data = picture.read()
    except Exception as error:  # whatever a file system, archive or codec raises is this one picture's problem
        reason = error.strerror if isinstance(error, OSError) else None
        raise ValueError(f"cannot be read: {reason or str(error) or type(error).__name__}") from error
    with opened(data) as image:
        _refuse_large(*image.size, task, max_megapixels)
        levels = torch.from_numpy(whole(image, task.picture_mode, background))
    result = apply(generator, task, levels.float() / 127.5 - 1)
    if not result.isfinite().all():
        raise ValueError("the generator's output is not finite")
    return ((result + 1) * 127.5).round().clamp(0, 255).byte()


def _refuse_large(width: int, height: int, task: Task, max_megapixels: int) -> None:
    """The networks take about a kilobyte for each pixel that they make, measured on VGG-16, ResNet-50 and EfficientNet-Lite0."""
    scale = task.enlarges
    megapixels = width * height * scale**2 / 1e6
    if megapixels > max_megapixels:
        becomes = f", enlarged to {scale * width} x {scale * height}," if scale > 1 else ""
        raise ValueError(
            f"{width} x {height} pixels{becomes} are {megapixels:.1f} Mpx; at most {max_megapixels} Mpx are made at once, "
            f"for which about {max_megapixels} GB of memory are needed: shrink it, or raise --max-megapixels"
        )


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
