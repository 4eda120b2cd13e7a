"""The generator of a source as a network, built of what the source says of itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

from pydantic import TypeAdapter
from torch import nn

from trainables.generators import GENERATORS
from trainables.networks import build_generator, build_task
from trainables.registry import options_union
from trainables.source.formats import open_source
from trainables.source.places import HasTrunkError, check_places, generator_places
from trainables.source.source import GENERATOR, Source
from trainables.tasks import TASKS


def load_generator(source: str | Path) -> nn.Module:
    """The generator of whatever can be a source (`open_source`), every tensor of it loaded; in evaluation mode, no gradients.

    Raises:
        ValueError: the source cannot be read, does not say what its generator is, or holds other tensors than that has.
    """
    try:
        return generator_of(open_source(source, discriminator=False))
    except ValueError as error:
        raise ValueError(str(error) if str(source) in str(error) else f"source {source}: {error}") from error


def generator_of(source: Source) -> nn.Module:
    """As `load_generator`, of a source that is read already."""
    if source.generator is None or source.resolution is None:
        raise ValueError("it does not say which generator it holds; sources written by gansweep import, and exports, do")
    options = TypeAdapter(options_union(GENERATORS)).validate_python(source.generator)
    task = TypeAdapter(options_union(TASKS)).validate_python(source.metadata.get("task", {"name": "generation"}))
    made = build_task(task, source.resolution)
    state = source.part(GENERATOR)
    if made.in_channels == 0:
        with contextlib.suppress(HasTrunkError):  # before anything is allocated of sizes that a file merely claims
            places = generator_places(source.generator, source.resolution)
            check_places("its generator", {name: tuple(tensor.shape) for name, tensor in state.items()}, places)
    try:
        generator = build_generator(options, made, str(source.metadata.get("backbone")))
        generator.load_state_dict(state)
    except RuntimeError as error:  # of sizes that no memory holds, too
        raise ValueError(f"its tensors are not those of its generator: {error}") from error
    return generator.eval().requires_grad_(False)
