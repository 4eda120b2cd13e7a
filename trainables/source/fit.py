"""How much of a trial's networks a source gives, and copying it: by name, where the shapes fit; the rest is reported.

A trial whose G is pretrained in name only looks like any other from outside. So a source must give all of G, and all of a D of
the kind that it holds, and nothing of them may be left over; a start from a part must be asked for, and comes with a warning
(`partial_start`). The one exception tells itself: of a StyleGAN2 of higher resolution the upper blocks are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from trainables.discriminators import DISCRIMINATORS, in_trunk
from trainables.layers.adapters import is_adapter
from trainables.source.formats import read_source
from trainables.source.source import DISCRIMINATOR, GENERATOR

_BLOCK = re.compile(r"(?:synthesis\.)?\bb(\d+)\.")  # of StyleGAN2, with its resolution
_GROUPS = 6  # of tensors that a message names
_NAMED = 3  # tensors that a warning names of each kind
_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8)  # of the one asked for, that are tried for a better fit


class LoadReport(NamedTuple):
    """What a source gave: names of the tensors copied, and of those that kept their initial values."""

    copied: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    generator_share: float
    """How much of G, counted in values, comes from the source, 0..1."""
    lacking: tuple[str, ...] = ()
    """Those of ``missing`` and ``mismatched`` that a source should give: G's, and D's where the source holds a D of its kind."""
    left: tuple[str, ...] = ()
    """Tensors of the source's G, or of its D of this kind, that have no place."""
    cut: tuple[str, ...] = ()
    """The same, of blocks of a higher resolution than the trial's."""

    def problem(self) -> str | None:
        """What keeps this from being a start from all of the source; None when it is one."""
        parts = {
            "not in the source": [name for name in self.missing if name in self.lacking],
            "of another shape": [name for name in self.mismatched if name in self.lacking],
            "in the source alone": list(self.left),
        }
        said = "; ".join(f"{kind}: {grouped(names)}" for kind, names in parts.items() if names)
        if self.cut and any(".torgb." in name for name in self.lacking):
            side = max(int(found[1]) for name in self.cut if (found := _BLOCK.search(name)))
            why = "its G is of the resnet form, whose last block alone makes the picture, so that none can be left out"
            said += f"; {why}: set data.resolution: {side}"
        return said or None

    def __str__(self) -> str:
        return (
            f"{len(self.copied)} tensors copied, {len(self.missing)} not in the source, {len(self.mismatched)} of another shape"
        )


def load_source(
    file: str | Path, generator: nn.Module, discriminator: nn.Module, backbone: str, *, partial: bool = False
) -> LoadReport:
    """Copies what fits by name and shape into ``generator`` and ``discriminator`` and reports the rest.

    D, and each member of an ensemble, takes what the source holds of its own kind, or else of heads on its backbone.

    Args:
        partial: whether the source may give a part of the networks.

    Raises:
        ValueError: the source cannot be read, gives nothing of G, or, unless ``partial``, not all that it should.
    """
    tensors = read_source(Path(file))
    report = fit(tensors, generator, discriminator, backbone)
    if not any(name.startswith(GENERATOR) for name in report.copied):
        raise ValueError(f"{file} holds no tensor that fits this generator (resolution, channels or z_dim differ)")
    if not partial and (problem := report.problem()):
        raise ValueError(not_whole(file, problem))
    for module, prefix in _places(generator, discriminator, backbone, tensors):
        own = module.state_dict()
        for name in own.keys() & {name.removeprefix(prefix) for name in report.copied if name.startswith(prefix)}:
            own[name].copy_(tensors[prefix + name])
        if _is_kind(prefix):  # what is new in a frozen block of D must learn all the same
            for name, parameter in module.named_parameters():
                if prefix + name in report.missing:
                    parameter.requires_grad_(True)
    return report


def not_whole(file: str | Path, problem: str) -> str:
    """The message for a source that gives a part of the networks (`LoadReport.problem`)."""
    return f"{file} does not fit these networks ({problem}); to start from what fits, set source_fit: partial"


def fit(tensors: Mapping[str, Tensor], generator: nn.Module, discriminator: nn.Module, backbone: str) -> LoadReport:
    """What a source gives; changes nothing, so that networks may be on the meta device."""
    reports = []
    for module, prefix in _places(generator, discriminator, backbone, tensors):
        report = compare(module, tensors, prefix, needs_trunk=module is generator)
        if prefix == GENERATOR or _is_kind(prefix):
            report = _strict(report, module, tensors, prefix)
        reports.append(report)
    together = {
        field: tuple(name for report in reports for name in getattr(report, field))
        for field in LoadReport._fields
        if field != "generator_share"
    }
    return LoadReport(generator_share=reports[0].generator_share, **together)


def _strict(report: LoadReport, module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> LoadReport:
    """The report of a network that the source is to give whole."""
    own = module.state_dict().keys()
    beyond = [name for name in tensors if name.startswith(prefix) and name.removeprefix(prefix) not in own]
    highest = max((int(found[1]) for name in own if (found := _BLOCK.match(name))), default=0)

    def block(name: str) -> int:
        found = _BLOCK.match(name.removeprefix(prefix))
        return int(found[1]) if found and highest else 0

    cut = tuple(name for name in beyond if block(name) > highest)
    # Of a D that was cut, the block that now is the first reads the picture anew.
    fresh = {name for name in report.missing if cut and f"b{highest}.fromrgb." in name}
    mined = any(name.startswith(f"{prefix}miner.") for name in tensors)
    new = {name for name in report.missing if _is_added(name.removeprefix(prefix)) and not (mined and ".miner." in name)}
    lacking = tuple(name for name in (*report.missing, *report.mismatched) if name not in fresh | new)
    missing = tuple(name for name in report.missing if name not in new)
    return report._replace(missing=missing, lacking=lacking, left=tuple(n for n in beyond if n not in cut), cut=cut)


def _places(
    generator: nn.Module, discriminator: nn.Module, backbone: str, names: Iterable[str]
) -> Iterator[tuple[nn.Module, str]]:
    """Each network, and what names of a source's tensors begin with where they are for it."""
    yield generator, GENERATOR
    names = list(names)
    members = list(getattr(discriminator, "members", ()))
    if not members or any(name.startswith(f"{DISCRIMINATOR}{backbone}.members.") for name in names):
        members = [discriminator]
    for member in members:
        options = getattr(member, "Options", None)
        kind = None if options is None else f"{DISCRIMINATOR}{options.model_fields['name'].default}."
        held = kind is not None and any(name.startswith(kind) for name in names)
        yield member, kind if kind and held else f"{DISCRIMINATOR}{backbone}."


def _is_added(name: str) -> bool:
    """Whether a tensor is of what is put beside a pretrained generator, and changes nothing at the start."""
    return is_adapter(name) or name.startswith("miner.")


def _is_kind(prefix: str) -> bool:
    return prefix.removeprefix(DISCRIMINATOR).rstrip(".") in DISCRIMINATORS


def grouped(names: Iterable[str]) -> str:
    """Names of tensors in groups: a block or a layer each, with their number.

    >>> grouped(["generator.synthesis.b8.conv0.weight", "generator.synthesis.b8.conv0.bias", "generator.mapping.fc0.bias"])
    'generator.synthesis.b8 (2), generator.mapping.fc0 (1)'
    """
    counts = Counter(".".join(name.split(".")[:3]) for name in names)
    shown = ", ".join(f"{group} ({count})" for group, count in list(counts.items())[:_GROUPS])
    return shown + (f" and {len(counts) - _GROUPS} more groups" if len(counts) > _GROUPS else "")


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


def compare(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str = GENERATOR, needs_trunk: bool = True) -> LoadReport:
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
        values += 0 if given is None and _is_added(name) else own.numel()
        if given is None:
            if needs_trunk or not in_trunk(name):
                missing.append(prefix + name)
        elif given.shape != own.shape:
            mismatched.append(prefix + name)
        else:
            given_values += own.numel()
            copied.append(prefix + name)
    return LoadReport(tuple(copied), tuple(missing), tuple(mismatched), given_values / max(values, 1))
