"""A metric's full name: what is measured, on which features, after which resize, from how many generated images.

``fid[inception,299px-bilinear,n=5000]``: the Fréchet distance of Inception's features of images resized to 299 x 299 pixels by an
antialiased bilinear filter, from 5000 generated images and all real ones. Values of different names have different bias and
different scale, so they are never compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from trainables.metrics.features import FILTERS, INCEPTION
from trainables.metrics.kinds import KINDS
from trainables.metrics.statistics import MAX_ROWS
from trainables.registry import unknown_name

DEFAULT_FILTER = "bilinear"

_PATTERN = re.compile(
    r"(?P<kind>\w+)\[(?P<extractor>[\w./-]+),(?P<size>\d+)px(?:-(?P<filter>\w+))?,n=(?P<n>\d+)\]", flags=re.ASCII
)


@dataclass(frozen=True, order=True)
class MetricName:
    """A parsed full name; ``str()`` gives it back in its one normal form."""

    kind: str  # an entry of KINDS
    extractor: str  # "inception" or a backbone
    size_px: int  # images are resized to size_px x size_px
    filter: str  # an entry of FILTERS
    n: int  # number of generated images

    def __post_init__(self) -> None:
        KINDS[self.kind]
        if self.filter not in FILTERS:
            raise ValueError(unknown_name("resize filter", self.filter, FILTERS))
        if self.n < 2:
            raise ValueError(f"n >= 2 must hold in a metric's name (one image has no covariance), but got n={self.n}")
        if KINDS[self.kind].needs_rows and self.n > MAX_ROWS:
            raise ValueError(f"{self.kind} keeps every feature in memory and takes at most n={MAX_ROWS}, but got n={self.n}")
        if self.size_px < 1:
            raise ValueError(f"a metric's resize must be at least 1px, but got {self.size_px}px")

    def __str__(self) -> str:
        return f"{self.kind}[{self.extractor},{self.size_px}px-{self.filter},n={self.n}]"

    @property
    def lower_is_better(self) -> bool:
        return KINDS[self.kind].lower_is_better


def parse_metric(text: str, backbones: Collection[str] | None = None) -> MetricName:
    """Reads a metric's name; the resize filter may be left out (``64px`` means ``64px-bilinear``).

    Args:
        text: for example ``fid[efficientnet_lite2,64px,n=500]``.
        backbones: names of the backbones that may serve as extractor beside ``inception``; not checked when None.

    Raises:
        ValueError: malformed, or an unknown kind, extractor or filter, with the nearest valid name.
    """
    match = _PATTERN.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"a metric is written like 'fid[inception,299px-bilinear,n=5000]', but got {text!r}")
    name = MetricName(
        kind=match["kind"],
        extractor=match["extractor"],
        size_px=int(match["size"]),
        filter=match["filter"] or DEFAULT_FILTER,
        n=int(match["n"]),
    )
    # A mapping may know more names than it lists: ``timm/…``.
    if backbones is not None and name.extractor != INCEPTION and name.extractor not in backbones:
        raise ValueError(unknown_name("feature extractor", name.extractor, {INCEPTION, *backbones}))
    return name


def require_same(a: str | MetricName, b: str | MetricName) -> None:
    """Call before two values are compared.

    Raises:
        ValueError: the names differ in anything: values of different names have different bias and scale.
    """
    first, second = (parse_metric(name) if isinstance(name, str) else name for name in (a, b))
    if first != second:
        raise ValueError(f"values of {first} and {second} must not be compared: they differ in bias and scale")
