"""What a step needs goes to the device whole, in one piece, and one step ahead."""

from __future__ import annotations

import threading

import pytest
import torch

from trainables.parcel import Ahead, packed

DRAWN = {
    "bytes": torch.arange(7, dtype=torch.uint8),
    "pictures": torch.rand(2, 3, 5, 5),
    "keys": torch.tensor([2**62, -3]),
    "wide": torch.rand(3, dtype=torch.float64),
    "of a share": torch.rand(8, 4)[::2],
    "nothing": torch.empty(0, 4),
    "flags": torch.tensor([True, False, True]),
}


def test_what_was_packed_comes_out_bit_for_bit() -> None:
    found = packed(DRAWN, pin_memory=False).on(torch.device("cpu"))
    assert found.keys() == DRAWN.keys()
    for name, x in DRAWN.items():
        assert found[name].dtype == x.dtype
        assert torch.equal(found[name], x), name
    storages = {x.untyped_storage().data_ptr() for x in found.values()}
    assert len(storages) == 1
    assert all(x.data_ptr() % x.dtype.itemsize == 0 for x in found.values())


def test_the_next_step_is_made_while_the_present_one_runs() -> None:
    made: list[tuple[int, str]] = []
    second = threading.Event()

    def make(step: int) -> int:
        made.append((step, threading.current_thread().name))
        if step == 1:
            second.set()
        return step * 10

    ahead = Ahead(make, steps=3)
    assert ahead(0) == 0
    assert second.wait(30), "nobody has asked for it yet"
    assert [ahead(1), ahead(2)] == [10, 20]
    main = threading.main_thread().name
    assert [(step, name == main) for step, name in made] == [(0, True), (1, False), (2, False)], "each once, none beyond the end"


def test_any_step_can_be_asked_for() -> None:
    """After a resume, or twice."""
    ahead = Ahead(lambda step: step, steps=9)
    assert [ahead(step) for step in (0, 5, 5, 6, 2, 8, 8)] == [0, 5, 5, 6, 2, 8, 8]


def test_an_error_reaches_the_step_that_it_is_of() -> None:
    def make(step: int) -> int:
        if step == 1:
            raise OSError("the disk has gone")
        return step

    ahead = Ahead(make, steps=4)
    assert ahead(0) == 0
    with pytest.raises(OSError, match=r"the disk has gone"):
        ahead(1)
    assert ahead(2) == 2


def test_its_thread_ends_with_it() -> None:
    before = set(threading.enumerate())
    ahead = Ahead(lambda step: step, steps=5)
    ahead(0)
    (thread,) = set(threading.enumerate()) - before
    del ahead
    thread.join(30)
    assert not thread.is_alive()
