from __future__ import annotations

import pytest
import torch

from trainables.metrics.statistics import Accumulator, Statistics


def features(count: int = 200, dim: int = 12, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(3)) + offset


@pytest.mark.parametrize("batch", [1, 7, 64, 200])
def test_streaming_in_any_batch_size_gives_the_covariance(batch: int) -> None:
    x = features()
    accumulator = Accumulator(12, scatter=True)
    for part in x.split(batch):
        accumulator.update(part, torch.zeros(len(part), dtype=torch.bool))
        accumulator._fold()  # so that every batch is a merge
    accumulator_statistics = accumulator.finish()
    torch.testing.assert_close(accumulator_statistics.mean, x.double().mean(0), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(accumulator_statistics.covariance, torch.cov(x.double().T), rtol=1e-12, atol=1e-15)


def test_merging_equals_seeing_everything() -> None:
    x = features()
    a, b = Accumulator(12, scatter=True), Accumulator(12, scatter=True)
    a.update(x[:33], torch.ones(33, dtype=torch.bool))
    b.update(x[33:], torch.ones(167, dtype=torch.bool))
    a.merge(b)
    merged = a.finish()
    torch.testing.assert_close(merged.covariance, torch.cov(x.double().T), rtol=1e-12, atol=1e-15)
    assert merged.count == 200
    assert torch.equal(merged.rows, x)


def test_a_large_mean_does_not_destroy_the_covariance() -> None:
    """float32 raw moments are off by per cents here."""
    x = features(count=3000, offset=1000.0)
    accumulator = Accumulator(12, scatter=True)
    for part in x.split(100):
        accumulator.update(part, torch.zeros(len(part), dtype=torch.bool))
    torch.testing.assert_close(accumulator.finish().covariance, torch.cov(x.double().T), rtol=1e-11, atol=1e-13)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    accumulator = Accumulator(4, scatter=True)
    for _ in range(100):
        accumulator.update(torch.zeros(500, 4), torch.zeros(500, dtype=torch.bool))
        assert sum(len(part) for part in accumulator._waiting) <= 1024
    assert not accumulator._kept


def test_few_features_are_kept_as_their_own_factor() -> None:
    x = features(count=5)
    statistics = Statistics.of(x, keep=False)
    assert statistics.scatter is None
    torch.testing.assert_close(statistics.covariance, torch.cov(x.double().T), rtol=1e-12, atol=1e-15)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[N, 12\]"):
        Accumulator(12, scatter=True).update(torch.zeros(3, 11), torch.zeros(3, dtype=torch.bool))


def test_missing_rows_are_named() -> None:
    statistics = Statistics.of(features(), keep=False)
    with pytest.raises(ValueError, match="were not kept"):
        statistics.some_rows()
    with pytest.raises(ValueError, match="only 0 of 200"):
        statistics.every_row()
