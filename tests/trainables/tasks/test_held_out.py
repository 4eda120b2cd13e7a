"""The pictures kept from training."""

from __future__ import annotations

import pytest
import torch

from trainables.tasks import split


@pytest.mark.parametrize(("count", "share", "kept"), [(10, 0.2, 2), (100, 0.25, 25), (2, 0.01, 1), (2, 0.99, 1), (3, 0.9, 2)])
def test_every_picture_is_on_one_side_and_neither_side_is_empty(count: int, share: float, kept: int) -> None:
    training, evaluation = split(count, share)
    assert len(evaluation) == kept
    assert training.dtype == evaluation.dtype == torch.int64
    assert torch.equal(torch.cat([training, evaluation]).sort().values, torch.arange(count))
    assert torch.equal(training, training.sort().values)


def test_it_is_the_same_every_time_and_spread_over_the_data() -> None:
    torch.manual_seed(1)
    first = split(1000, 0.2)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, split(1000, 0.2), strict=True))
    in_each_quarter = torch.bincount(first[1] // 250, minlength=4)
    assert (in_each_quarter > 30).all()


def test_a_larger_share_keeps_the_same_pictures_and_more() -> None:
    assert set(split(50, 0.1)[1].tolist()) < set(split(50, 0.3)[1].tolist())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="0 < held_out < 1 must hold"):
        split(10, share)


def test_one_picture_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="at least 2 pictures, one of them to evaluate by, but got 1"):
        split(1, 0.5)
