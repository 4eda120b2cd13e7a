"""How many pictures an evaluation makes at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trainables.metrics.batches import evaluation_batch

CUDA, GB = torch.device("cuda"), 10**9


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Of a GPU."""
    found = SimpleNamespace(total_memory=80 * GB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    return found


def test_on_a_cpu_it_is_what_it_always_was() -> None:
    assert {evaluation_batch(torch.device("cpu"), side, n) for side in (8, 1024) for n in (1, 50_000)} == {32}


@pytest.mark.parametrize(
    ("side", "n", "count"), [(32, 50_000, 512), (256, 50_000, 128), (1024, 50_000, 8), (32, 500, 64), (32, 2, 1)]
)
def test_on_a_gpu_it_is_the_power_of_two_that_fits(memory: SimpleNamespace, side: int, n: int, count: int) -> None:
    assert evaluation_batch(CUDA, side, n) == count
    assert count == 512 or count <= n // 4 or count == 1
    assert count * side**2 * 1024 <= memory.total_memory / 8


def test_a_smaller_gpu_takes_fewer_and_at_least_one(memory: SimpleNamespace) -> None:
    taken = []
    for memory.total_memory in (80 * GB, 24 * GB, 8 * GB, GB // 10):
        taken.append(evaluation_batch(CUDA, 299, 50_000))
    assert taken == [64, 32, 8, 1]
