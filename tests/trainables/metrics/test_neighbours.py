from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trainables.metrics.kinds import KINDS
from trainables.metrics.neighbours import copied_share, coverage, density, nearest_real, precision, recall
from trainables.metrics.statistics import Statistics


def draw(count: int, seed: int, *, scale: float = 1.0, shift: float = 0.0, dim: int = 8) -> Statistics:
    return Statistics.of(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) * scale + shift)


def test_precision_and_recall_are_torch_fidelitys() -> None:
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    real, generated = draw(700, 1), draw(600, 2, scale=0.8, shift=0.4)
    expected = calculate_precision_recall_full(generated.rows.double(), real.rows.double())
    assert (precision(real, generated), recall(real, generated)) == pytest.approx(expected, abs=1e-6)
    assert 0 < expected[1] < expected[0] < 1


def test_density_and_coverage_are_their_definitions() -> None:
    real, generated, k = draw(300, 1), draw(200, 2, shift=0.5), 5
    within = torch.cdist(real.rows.double(), real.rows.double())
    radii = within.sort(dim=1).values[:, k]
    inside = torch.cdist(generated.rows.double(), real.rows.double()) <= radii
    assert density(real, generated) == pytest.approx(float(inside.sum()) / (k * 200))
    assert coverage(real, generated) == pytest.approx(float(inside.any(0).double().mean()))


def test_a_perfect_generator_and_a_hopeless_one() -> None:
    real = draw(1000, 1)
    perfect, far = draw(1000, 2), draw(1000, 3, shift=100.0)
    assert density(real, perfect) == pytest.approx(1, abs=0.1)
    assert coverage(real, perfect) == pytest.approx(1 - 2**-5, abs=0.03)
    assert [f(real, far) for f in (precision, recall, density, coverage, copied_share)] == [0] * 5


def test_a_collapsed_generator_is_precise_and_covers_nothing() -> None:
    real = draw(500, 1)
    collapsed = Statistics.of(real.rows[:1].expand(500, -1) + 1e-3 * draw(500, 2).rows)
    assert precision(real, collapsed) == 1
    assert coverage(real, collapsed) < 0.05


def test_copies_are_found_and_named() -> None:
    """Half the samples are training images with a little noise; independent samples are not mistaken for copies."""
    real = draw(400, 1, dim=16)
    copies = real.rows[100:200] + 1e-2 * draw(100, 2, dim=16).rows
    mixed = Statistics.of(torch.cat([copies, draw(100, 3, dim=16).rows]))
    found = nearest_real(real, mixed)
    assert torch.equal(found.index[:100], torch.arange(100, 200))
    assert float(found.ratio[:100].max()) < 0.1
    assert copied_share(real, mixed) == pytest.approx(0.5, abs=0.01)
    assert copied_share(real, draw(400, 5, dim=16)) < 0.01


def test_identical_images_are_copies_even_where_the_training_set_repeats_itself() -> None:
    rows = draw(50, 1).rows
    real = Statistics.of(torch.cat([rows, rows]))
    found = nearest_real(real, Statistics.of(torch.cat([rows[:10], draw(10, 9).rows])))
    assert found.distance[:10].tolist() == [0] * 10
    assert found.ratio[:10].tolist() == [0] * 10
    assert found.ratio[10:].isinf().all()


def test_mirrored_copies_are_found_and_named_too() -> None:
    real, mirrored = draw(400, 1, dim=16), draw(400, 7, dim=16).rows
    copies = Statistics.of(torch.cat([mirrored[100:200], real.rows[300:]]) + 1e-2 * draw(200, 2, dim=16).rows)
    assert copied_share(real, copies) == 0.5, "what is not given cannot be seen"
    both = replace(real, mirrored=mirrored)
    found = nearest_real(both, copies)
    assert torch.equal(found.index, torch.cat([torch.arange(100, 200), torch.arange(300, 400)]))
    assert torch.equal(found.mirrored, torch.arange(200) < 100)
    assert copied_share(both, copies) == 1
    assert copied_share(both, draw(400, 5, dim=16)) < 0.01


def test_a_symmetric_picture_is_not_its_own_neighbour() -> None:
    """How near a picture is to its own mirror image says nothing of how far training pictures are apart."""
    real = draw(400, 1, dim=16)
    symmetric = replace(real, mirrored=real.rows)
    copies = Statistics.of(real.rows[:100] + 1e-2 * draw(100, 2, dim=16).rows)
    assert copied_share(symmetric, copies) == copied_share(real, copies) == 1
    assert torch.equal(nearest_real(symmetric, copies).ratio, nearest_real(real, copies).ratio)


def test_a_common_offset_costs_no_digits() -> None:
    real, generated = draw(200, 1).rows, draw(200, 2).rows
    values = [
        [
            KINDS[kind].value(Statistics.of(real + c), Statistics.of(generated + c))
            for kind in ("precision", "density", "coverage")
        ]
        for c in (0.0, 1024.0)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.02)  # float32 itself rounds the features at this offset


def test_too_few_images_are_a_clear_error() -> None:
    with pytest.raises(ValueError, match="needs more than 3 images, but there are 3"):
        precision(draw(3, 1), draw(10, 2))
