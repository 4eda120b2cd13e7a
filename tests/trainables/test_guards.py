"""Guards: what ends a trial is named, and a healthy run is left alone."""

from __future__ import annotations

import pytest

from trainables.guards import GuardOptions, Interval, collapsed, saturated

OPTIONS = GuardOptions()
WON, OPEN = Interval(1.0, 4.0), Interval(0.9, 1.0)


@pytest.mark.parametrize(("diversity", "ends"), [(1.0, False), (0.12, False), (0.021, False), (0.019, True), (0.0, True)])
def test_samples_that_are_nearly_the_same_have_collapsed(diversity: float, ends: bool) -> None:
    reason = collapsed(diversity, OPTIONS)
    assert (reason is not None) == ends
    if reason:
        assert reason == (
            f"the generator has collapsed: its samples are {diversity:.2%} as far apart as real images, less than 2.00%"
        )


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
        ([Interval(0.9945, 4.0), Interval(1.0, 4.0)], False),
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
    assert collapsed(0.0, off) is None


@pytest.mark.parametrize("wrong", [{"saturated_accuracy": 0.5}, {"collapsed_share": 0.0}, {"collapsed_share": 1.0}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        GuardOptions(**wrong)
