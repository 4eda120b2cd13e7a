"""The bound whose gradient leads back, and the 256 levels."""

from __future__ import annotations

import torch

from trainables.tasks.ranges import as_file, bounded, from_levels, to_levels


def test_bounded_clamps_and_its_gradient_leads_back() -> None:
    x = torch.tensor([-3.0, -3.0, -1.0, 0.5, 1.0, 3.0, 3.0], requires_grad=True)
    y = bounded(x)
    assert torch.equal(y.detach(), torch.tensor([-1.0, -1.0, -1.0, 0.5, 1.0, 1.0, 1.0]))
    # A descent step goes against the gradient: at -3 only a negative one leads back, at 3 only a positive one.
    upstream = torch.tensor([-1.0, 1.0, 2.0, 2.0, -2.0, -1.0, 1.0])
    (gradient,) = torch.autograd.grad(y, x, upstream)
    assert torch.equal(gradient, torch.tensor([-1.0, 0.0, 2.0, 2.0, -2.0, 0.0, 1.0]))


def test_what_is_not_finite_stays_so_that_the_guards_see_it() -> None:
    assert bounded(torch.tensor([float("nan")])).isnan().all()


def test_levels_are_those_of_a_file_and_stay_bit_for_bit() -> None:
    levels = torch.arange(256)
    assert torch.equal(to_levels(from_levels(levels)), levels.float())
    assert torch.equal(as_file(from_levels(levels)), from_levels(levels))
    assert torch.equal(from_levels(levels), levels.to(torch.uint8).float().div_(127.5).sub_(1.0)), "as ImageDataset.batch"
    assert torch.equal(as_file(torch.tensor([-7.0, 7.0])), torch.tensor([-1.0, 1.0]))
    assert len(as_file(torch.linspace(-1, 1, 10_000)).unique()) == 256
