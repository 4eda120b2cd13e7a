"""Random numbers depend on what they are for, and on nothing else."""

from __future__ import annotations

import pytest
import torch

from trainables.randomness import batch_indices, epoch_order, indexed_noise, keyed_generator, noise


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (10, 10), (7, 3), (5, 12), (1, 4), (64, 8)])
def test_each_epoch_visits_every_picture_once_whatever_the_batch(count: int, batch_size: int) -> None:
    epochs = 6
    steps = -(-count * epochs // batch_size)
    batches = [batch_indices(count, batch_size, seed=3, step=step) for step in range(steps)]
    assert all(len(batch) == batch_size for batch in batches)
    sequence = torch.cat(batches)[: count * epochs].view(epochs, count)
    for epoch, visited in enumerate(sequence):
        assert sorted(visited.tolist()) == list(range(count))
        assert torch.equal(visited, epoch_order(count, 3, epoch))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(20, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert torch.equal(epoch_order(20, 1, 2), epoch_order(20, 1, 2))


def test_a_batch_depends_on_the_seed_and_the_step_alone() -> None:
    later = batch_indices(100, 8, 5, 30)
    torch.manual_seed(1)
    batch_indices(100, 8, 5, 2)
    assert torch.equal(batch_indices(100, 8, 5, 30), later)
    assert not torch.equal(batch_indices(100, 8, 6, 30), later)


def test_noise_by_index_depends_on_the_index_alone() -> None:
    all_of_it = indexed_noise(torch.arange(200), 5, 0, "evaluation")
    some = torch.tensor([199, 3, 64, 63, 3])
    assert torch.equal(indexed_noise(some, 5, 0, "evaluation"), all_of_it[some])
    assert len({tuple(row.tolist()) for row in all_of_it}) == 200
    assert not torch.equal(indexed_noise(some, 5, 0, "preview"), all_of_it[some])
    assert not torch.equal(indexed_noise(some, 5, 1, "evaluation"), all_of_it[some])
    assert float(all_of_it.mean()) == pytest.approx(0, abs=0.1)
    assert float(all_of_it.std()) == pytest.approx(1, abs=0.1)


def test_keys_do_not_run_into_each_other() -> None:
    keys: list[tuple[int | str, ...]] = [(1,), (11,), (1, 1), (1, "1"), (1, "a", 2), (1, "a2"), (1, "a", "2"), (12, "a")]
    seeds = {keyed_generator(*key).initial_seed() for key in keys}  # type: ignore[arg-type]
    assert len(seeds) == len(keys)


def test_numbers_stay_what_they_are_between_versions() -> None:
    """Pinned: a change here changes every curve that was ever recorded."""
    assert keyed_generator(0, "d", 0).initial_seed() == 2882970640581349524
    assert batch_indices(10, 4, 0, 1).tolist() == [0, 1, 9, 4]


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise(3, 4, 0, "d", 1)
    indexed_noise(torch.arange(3), 4, 0, "x")
    batch_indices(10, 4, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
