"""The error of this package: every problem of a search space at once, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with a search space: where (``feature_loss.layers[1].when``) and what."""

    path: str
    message: str


class SpaceError(ValueError):
    """A search space, or values for one, that cannot be; ``problems`` holds all that was found, in the order of the input."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = [Problem(*problem) for problem in problems]
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(f"{path}: {message}" if path else message for path, message in self.problems)


def unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """One line for a wrong name: what it is, the nearest valid one, and all valid ones.

    >>> unknown("dimension", "bakcbone", ["backbone"])
    "unknown dimension 'bakcbone'; did you mean 'backbone'? Valid: backbone"
    """
    choices = [str(choice) for choice in known]
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Valid: {', '.join(choices) or '(none)'}"
