"""Generation: pictures from noise. G's output is the picture; there is no input and no target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from trainables.registry import Options
from trainables.tasks.task import Task


class GenerationOptions(Options):
    """Options of `Generation`."""

    name: Literal["generation"] = "generation"


class Generation(Task):
    """The condition has no channels, [N, 0, H, W]; generators from noise end in the range of pictures by themselves."""

    Options = GenerationOptions
    DEFAULTS: ClassVar[Mapping[str, Any]] = {"evaluation": {"metric": "fid[efficientnet_lite2,64px,n=500]"}}
    paired = False
    in_channels = 0

    def degrade(self, images: Tensor, keys: Tensor) -> Tensor:
        return images[:, :0]

    def compose(self, condition: Tensor, output: Tensor) -> Tensor:
        return output

    def show(self, condition: Tensor) -> Tensor:
        raise ValueError(_NO_INPUT)

    def baseline(self, condition: Tensor) -> Tensor:
        raise ValueError(_NO_INPUT)

    def inputs_from_picture(self, picture: Tensor) -> Tensor:
        raise ValueError(_NO_INPUT)


_NO_INPUT = "the task 'generation' makes pictures from noise and takes no picture"
