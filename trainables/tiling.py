"""Large pictures through an image-to-image generator, in overlapping tiles: bounded memory, and the same result as at once.

A pixel of the result depends on a neighbourhood alone, where neither task nor generator looks at the whole picture. How far it
reaches is measured: NaN goes wherever a value goes, so that NaN put into the middle of a picture shows what depends on it. A tile
is made with a margin of at least that reach, cut off afterwards, on the grid of the deepest stride: so every pixel comes of the
same numbers as at once, up to the order of summation of convolutions of another size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from trainables.networks import device_of, make_pictures
from trainables.tasks import Task

_LONGEST_PROBE = 4096  # px, in which the reach is sought
_SMALLEST_TILE = 128  # px a side without margins, where memory would allow less

Read = Callable[[int, int, int, int], Tensor]
"""(top, left, bottom, right) → that part of a picture, [channels of `Task.picture_mode`, h, w] in [-1, 1]."""


@torch.no_grad()
def reach_of(generator: nn.Module, channels: int) -> int | None:
    """How many pixels around its own, of its input, a pixel of the output depends on; None where it is all of them.

    Args:
        channels: of the input.
    """
    with torch.backends.cudnn.flags(enabled=False):  # some of its algorithms (by Fourier transforms) would spread NaN farther
        reaches = [_reach(generator, channels, across) for across in (False, True)]
    return None if None in reaches else max(reach for reach in reaches if reach is not None)


def _reach(generator: nn.Module, channels: int, across: bool) -> int | None:
    """Along columns, or ``across`` them, in a narrow strip."""
    stride, side = int(generator.stride), 256  # type: ignore[arg-type]
    while side <= _LONGEST_PROBE:
        images = torch.zeros(1, channels, side, 2 * stride, device=device_of(generator))
        first = side // 2 // stride * stride
        images[:, :, first : first + stride] = math.nan  # in every place relative to the stride
        output = generator(images.transpose(-1, -2)).transpose(-1, -2) if across else generator(images)
        lines = output[0].isnan().any(dim=0).any(dim=-1).nonzero()[:, 0]
        low, high = int(lines.min()), int(lines.max())
        if low > 0 and high < side - 1:
            return max(first - low, high - (first + stride - 1))
        side *= 2
    return None


class Tiling:
    """Makes pictures of any size.

    Args:
        megapixels: of a result that go through the networks at once, margins included; a larger picture is made of tiles.
    """

    def __init__(self, generator: nn.Module, task: Task, megapixels: float) -> None:
        self.generator, self.task, self.megapixels = generator, task, megapixels

    @functools.cached_property
    def margin(self) -> int | None:
        """Pixels around a tile on which it depends, a multiple of `grid`; None where that is the whole picture."""
        reach = None if self.task.reach is None else reach_of(self.generator, self.task.in_channels)
        if reach is None or self.task.reach is None:
            return None
        return -(-(reach + self.task.enlarges * self.task.reach) // self.grid) * self.grid

    @property
    def grid(self) -> int:
        """What the places of tiles in the result are multiples of."""
        return math.lcm(int(self.generator.stride), self.task.enlarges)  # type: ignore[arg-type]

    def problem(self, height: int, width: int) -> str | None:
        """Why a picture of this size cannot be made; None where it can."""
        height, width = height * self.task.enlarges, width * self.task.enlarges
        if height * width <= self.megapixels * 1e6 or self.margin is not None:
            return None
        who = f"the task {self.task.options.name!r}" if self.task.reach is None else "the generator's trunk"
        size = f"{width} x {height} pixels are {height * width / 1e6:.1f} Mpx"
        return (
            f"{size}, but at most {self.megapixels:g} Mpx are made at once, and {who} looks at the whole picture, which cannot "
            f"be made of tiles: shrink it, or raise --max-megapixels, with about a GB of memory for each"
        )

    @torch.no_grad()
    def bands(self, read: Read, height: int, width: int) -> Iterator[Tensor]:
        """What is made of a picture of this size, from top to bottom: float32 [3, rows, W'] in [-1, 1], on the CPU.

        Raises:
            ValueError: the picture is none that the task takes, or too large (`problem`).
        """
        if told := self.problem(height, width):
            raise ValueError(told)
        height, width = height * self.task.enlarges, width * self.task.enlarges
        if height * width <= self.megapixels * 1e6 or self.margin is None:
            yield self._made(read, 0, 0, height, width)
            return
        margin = self.margin
        core = max(_SMALLEST_TILE, math.isqrt(int(self.megapixels * 1e6)) - 2 * margin) // self.grid * self.grid
        for top in range(0, height, core):
            row = []
            for left in range(0, width, core):
                above, before = max(0, top - margin), max(0, left - margin)
                bottom, right = min(height, top + core), min(width, left + core)
                tile = self._made(read, above, before, min(height, bottom + margin), min(width, right + margin))
                row.append(tile[:, top - above : bottom - above, left - before : right - before].clone())
            yield torch.cat(row, dim=-1)

    def _made(self, read: Read, *box: int) -> Tensor:
        """A part of the result, [3, h, w]: its edges as those of a whole picture."""
        part = read(*(place // self.task.enlarges for place in box))
        condition = self.task.inputs_from_picture(part[None].to(device_of(self.generator)))
        return make_pictures(self.task, self.generator, condition)[0].cpu()
