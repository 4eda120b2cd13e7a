"""What a generator can be for. A new task is a file and one line here."""

from __future__ import annotations

from trainables.registry import Registry
from trainables.tasks.colorization import Colorization
from trainables.tasks.denoising import Denoising
from trainables.tasks.generation import Generation
from trainables.tasks.held_out import split
from trainables.tasks.inpainting import Inpainting
from trainables.tasks.style_transfer import StyleTransfer
from trainables.tasks.super_resolution import SuperResolution
from trainables.tasks.task import Task

__all__ = ["TASKS", "Task", "split"]

TASKS: Registry[type[Task]] = Registry(
    "task",
    {
        "generation": Generation,
        "super_resolution": SuperResolution,
        "denoising": Denoising,
        "inpainting": Inpainting,
        "colorization": Colorization,
        "style_transfer": StyleTransfer,
    },
)
