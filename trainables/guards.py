"""Ends of a trial that its losses do not show as NaN: a discriminator that has won, a generator that has collapsed.

Pure functions of what an evaluation knows; whatever spans evaluations is handed in. Each gives the reason in words, or None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field

from trainables.registry import Options

_INTERVALS = 2  # evaluation intervals for which D must win: in one alone, the first above all, it may run ahead


class GuardOptions(Options):
    """When a trial is given up."""

    # Measured on 2,700 emoji at 32 px over 2.4 kimg: up to 0.96 in three runs that learnt, 0.998 against a G that hardly moved.
    saturated_accuracy: float | None = Field(0.995, gt=0.5, le=1)
    """Mean accuracy of D that, held for two evaluation intervals without G's loss falling, ends the trial; None never does.
    Not looked at in adversarial losses without a boundary (`wasserstein`, `relativistic`), nor beside a reconstruction loss."""
    # In the same runs G from scratch came down to 0.12 before its samples moved apart; a collapsed one was below 0.01.
    collapsed_share: float | None = Field(0.02, gt=0, lt=1)
    """Distance between samples, relative to that between real images, below which G has collapsed; None never ends a trial."""


class Interval(NamedTuple):
    """Means over the steps between two evaluations, over all workers."""

    accuracy: float  # share of real and generated logits on the right side of D's boundary, in [0, 1]
    generator_loss: float


def saturated(intervals: Sequence[Interval], options: GuardOptions) -> str | None:
    """Why D has won for good, or None.

    D that is right everywhere gives G nothing to tell better from worse (Arjovsky and Bottou 2017, section 2). It has won for
    good when that lasts for two intervals and G comes no nearer in the second.

    Args:
        intervals: all so far, the newest last; more than two change nothing.
    """
    threshold, newest = options.saturated_accuracy, intervals[-_INTERVALS:]
    if threshold is None or len(newest) < _INTERVALS:
        return None
    first, last = newest[0], newest[-1]
    least = min(interval.accuracy for interval in newest)
    if least < threshold or last.generator_loss < first.generator_loss:
        return None
    return (
        f"the discriminator is saturated: it was right about at least {least:.2%} of all positions in each of the last "
        f"{_INTERVALS} evaluation intervals, and the generator's loss went from {first.generator_loss:.3g} "
        f"to {last.generator_loss:.3g}"
    )


def collapsed(diversity: float, options: GuardOptions) -> str | None:
    """Why G has collapsed, or None: its samples are nearly the same picture.

    Args:
        diversity: the metric of that name, the distance between samples relative to that between real images.
    """
    if options.collapsed_share is None or not diversity < options.collapsed_share:
        return None
    return (
        f"the generator has collapsed: its samples are {diversity:.2%} as far apart as real images, "
        f"less than {options.collapsed_share:.2%}"
    )
