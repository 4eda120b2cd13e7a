"""Guards: what ends a trial is named, and a healthy run is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables.guards import GuardOptions, Interval, collapsed, saturated, spread

OPTIONS = GuardOptions()
WON, OPEN = Interval(1.0, 4.0), Interval(0.9, 1.0)


def normal(count: int, scale: float, dim: int = 20) -> Tensor:
    return 3 + scale * torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def test_spread_is_the_root_mean_square_distance_of_all_pairs() -> None:
    features = normal(12, 2.0)
    pairs = torch.pdist(features.double())
    assert spread(features) == pytest.approx(float(pairs.square().mean().sqrt()), rel=1e-6)
    assert spread(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(5)
    assert spread(normal(5, 0.0)) == 0
    assert spread(normal(50, 1e-4) + 1000) == pytest.approx(spread(normal(50, 1e-4)), rel=0.3), "no cancellation"


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,)])
def test_a_spread_needs_two_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must be .* but are"):
        spread(torch.zeros(shape))


@pytest.mark.parametrize(("scale", "ends"), [(1.0, False), (0.06, False), (0.04, True), (0.0, True)])
def test_samples_that_are_nearly_the_same_have_collapsed(scale: float, ends: bool) -> None:
    real_spread = spread(normal(40, 1.0))
    reason = collapsed(normal(40, scale), real_spread, OPTIONS)
    assert (reason is not None) == ends
    if reason:
        assert reason == (
            f"the generator has collapsed: its samples are {scale:.2%} as far apart as real images, less than 5.00%"
        )


def test_where_all_real_images_are_the_same_nothing_can_collapse() -> None:
    assert collapsed(normal(40, 0.0), 0.0, OPTIONS) is None


@pytest.mark.parametrize(
    ("intervals", "ends"),
    [
        ([], False),
        ([WON], False),
        ([WON, WON], True),
        ([OPEN, WON, WON], True),
        ([WON, OPEN, WON], False),
        ([WON, WON, OPEN], False),
        ([Interval(0.9995, 4.0), Interval(0.9991, 4.5)], True),
        ([Interval(0.9995, 4.0), Interval(0.9991, 3.9)], False),  # G comes nearer
        ([Interval(0.9985, 4.0), Interval(1.0, 4.0)], False),
    ],
)
def test_a_discriminator_that_wins_twice_over_is_saturated(intervals: list[Interval], ends: bool) -> None:
    assert (saturated(intervals, OPTIONS) is not None) == ends


def test_the_reason_says_what_was_seen() -> None:
    assert saturated([Interval(1.0, 4.0), Interval(0.9991, 4.5)], OPTIONS) == (
        "the discriminator is saturated: it was right about at least 99.91% of all positions in each of the last 2 evaluation "
        "intervals, and the generator's loss went from 4 to 4.5"
    )


def test_guards_can_be_turned_off() -> None:
    off = GuardOptions(saturated_accuracy=None, collapsed_share=None)
    assert saturated([WON, WON], off) is None
    assert collapsed(normal(40, 0.0), 1.0, off) is None


@pytest.mark.parametrize("wrong", [{"saturated_accuracy": 0.5}, {"collapsed_share": 0.0}, {"collapsed_share": 1.0}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        GuardOptions(**wrong)
