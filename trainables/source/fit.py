"""How much of a trial's networks a source gives, and copying it: by name, where the shapes fit; the rest is reported.

A trial whose G is pretrained in name only looks like any other from outside, so a source that gives a part of G alone comes with
a warning (`partial_start`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from trainables.discriminators import in_trunk
from trainables.source.formats import read_source
from trainables.source.source import DISCRIMINATOR, GENERATOR

_NAMED = 3  # tensors that a warning names of each kind
_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)  # of the one asked for, that are tried for a better fit


class LoadReport(NamedTuple):
    """What a source gave: names of the tensors copied, and of those that kept their initial values."""

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    generator_share: float
    """How much of G, counted in values, comes from the source, 0..1."""

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} tensors copied, {len(self.missing)} not in the source, {len(self.mismatched)} of another shape"
        )


def load_source(file: str | Path, generator: nn.Module, discriminator: nn.Module, backbone: str) -> LoadReport:
    """Copies what fits by name and shape into ``generator`` and ``discriminator`` and reports the rest.

    D takes what the source holds of its own kind, as of networks without a trunk, or else of its backbone's.

    Raises:
        ValueError: the source cannot be read, or none of the generator's tensors fit.
    """
    tensors = read_source(Path(file))
    ours = compare(generator, tensors)
    if not ours.copied:
        raise ValueError(f"{file} holds no tensor that fits this generator (resolution, channels or z_dim differ)")
    theirs = _prefix_of(discriminator, backbone, tensors)
    heads = compare(discriminator, tensors, theirs, needs_trunk=False)
    for module, report, prefix in (generator, ours, GENERATOR), (discriminator, heads, theirs):
        own = module.state_dict()
        for name in report.copied:
            own[name.removeprefix(prefix)].copy_(tensors[name])
    return LoadReport(
        ours.copied + heads.copied, ours.missing + heads.missing, ours.mismatched + heads.mismatched, ours.generator_share
    )


def _prefix_of(discriminator: nn.Module, backbone: str, names: Iterable[str]) -> str:
    """What names of a source's tensors begin with where they are for this discriminator."""
    options = getattr(discriminator, "Options", None)
    kind = None if options is None else f"{DISCRIMINATOR}{options.model_fields['name'].default}."
    return kind if kind and any(name.startswith(kind) for name in names) else f"{DISCRIMINATOR}{backbone}."


def partial_start(source: str | Path, report: LoadReport, options: BaseModel, build: Callable[[Any], nn.Module]) -> str | None:
    """The warning for a source that gives a part of G alone: how much, what not, and a width that takes more of it.

    Where G makes pictures from noise its width is counted from the output, so that a source of half the resolution fits at half
    the width: its stages of low resolution are found there again.

    Args:
        report: of loading ``source``.
        options: of the generator.
        build: makes another generator of such options.

    Returns:
        None where the source gives all of G.
    """
    left = [[name for name in names if name.startswith(GENERATOR)] for names in (report.mismatched, report.missing)]
    if not any(left):
        return None
    copied = sum(name.startswith(GENERATOR) for name in report.copied)
    total = copied + sum(map(len, left))
    kinds = zip(("of another shape", "not in the source"), left, strict=True)
    named = "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)
    text = (
        f"the source {source} gives {copied} of the {total} tensors of G, {report.generator_share:.1%} of its values; the rest "
        f"starts from random values ({named})"
    )
    if report.generator_share < 0.5:
        text = f"G is hardly pretrained: {text}"
    width, share = _better_width(report, read_source(Path(source)), options, build)
    return text if width is None else f"{text}. With generator.channels: {width} it would give {share:.1%}"


def _better_width(
    report: LoadReport, tensors: dict[str, Tensor], options: BaseModel, build: Callable[[Any], nn.Module]
) -> tuple[int | None, float]:
    """The width with which the source gives most of a generator from noise, and how much of it; None: no better one was found."""
    best: tuple[int | None, float] = (None, report.generator_share)
    asked = getattr(options, "channels", None)
    if asked is None or not hasattr(options, "z_dim"):
        return best
    for channels in (int(asked * factor) for factor in _WIDTHS if asked * factor >= 1):
        with torch.device("meta"):
            share = compare(build(options.model_copy(update={"channels": channels})), tensors).generator_share
        if share > best[1]:
            best = channels, share
    return best


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(name.removeprefix(GENERATOR) for name in names[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def compare(module: nn.Module, tensors: dict[str, Tensor], prefix: str = GENERATOR, needs_trunk: bool = True) -> LoadReport:
    """Which of the module's tensors a source holds under ``prefix`` in their shape. Changes nothing; the share is of this module.

    Args:
        needs_trunk: whether tensors of a pretrained trunk are missed where they are not in the source.
    """
    copied: list[str] = []
    missing: list[str] = []
    mismatched: list[str] = []
    values = given_values = 0
    for name, own in module.state_dict().items():
        given = tensors.get(prefix + name)
        values += own.numel()
        if given is None:
            if needs_trunk or not in_trunk(name):
                missing.append(prefix + name)
        elif given.shape != own.shape:
            mismatched.append(prefix + name)
        else:
            given_values += own.numel()
            copied.append(prefix + name)
    return LoadReport(tuple(copied), tuple(missing), tuple(mismatched), given_values / max(values, 1))
