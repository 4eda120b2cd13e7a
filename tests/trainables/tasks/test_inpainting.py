"""Masks, filling, and that what is known stays."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from trainables.randomness import sample_keys
from trainables.tasks import masks as masks_module
from trainables.tasks.filling import fill_missing
from trainables.tasks.inpainting import Inpainting, InpaintingOptions
from trainables.tasks.masks import MASKS, random_masks


def keys(count: int) -> Tensor:
    return sample_keys(torch.arange(count), 3)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("share", [0.05, 0.25, 0.75])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (17, 40), (1, 1), (2, 3)])
def test_a_mask_hides_at_least_its_share_and_not_much_more(kind: str, share: float, height: int, width: int) -> None:
    masks = random_masks(kind, share, height, width, keys(20))
    assert masks.shape == (20, height, width)
    assert masks.dtype == torch.bool
    shares = masks.float().mean(dim=(1, 2))
    assert shares.min() >= share
    if height == 64:
        assert shares.max() <= share + 0.14, "by one shape too many at most"


@pytest.mark.parametrize("kind", MASKS)
def test_masks_reach_everywhere_and_are_of_the_key_alone(kind: str) -> None:
    masks = random_masks(kind, 0.25, 24, 24, keys(300))
    assert masks.float().mean(0).min() > 0, "corners are hidden less often, but they are"
    assert masks.float().mean(0).max() < 0.8
    assert torch.equal(random_masks(kind, 0.25, 24, 24, keys(300).flip(0)[:7]), masks.flip(0)[:7])


def test_boxes_have_straight_sides_and_strokes_do_not() -> None:
    def corners(kind: str) -> float:
        """Corners of the outline for each missing pixel of its border: few where sides are straight."""
        quads = random_masks(kind, 0.1, 96, 96, keys(8)).float().unfold(1, 2, 1).unfold(2, 2, 1).sum((-1, -2))
        return float(((quads == 1) | (quads == 3)).sum() / (quads % 4 != 0).sum())

    assert corners("boxes") < 0.15 < 0.3 < corners("free_form")


def test_shapes_that_cover_too_little_are_broadened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four boxes cannot hide three quarters of a picture."""
    monkeypatch.setattr(masks_module, "_AREA", 2.0)
    few = random_masks("boxes", 0.7, 64, 64, keys(20)).float().mean(dim=(1, 2))
    assert few.min() >= 0.7
    assert few.max() < 0.9


def test_filling_by_hand() -> None:
    """A lone hole in a 2x2 block gets the mean of the block's other three pixels, smoothed with its neighbour blocks."""
    image = torch.tensor([[1.0, 2.0], [3.0, 99.0]]).view(1, 1, 2, 2)
    missing = torch.tensor([[False, False], [False, True]]).view(1, 1, 2, 2)
    filled = fill_missing(image, missing)
    torch.testing.assert_close(filled, torch.tensor([[1.0, 2.0], [3.0, 2.0]]).view(1, 1, 2, 2))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 7), (1, 5), (5, 1)])
def test_a_flat_picture_is_filled_flat_and_holes_are_never_read(height: int, width: int) -> None:
    missing = torch.rand(4, 1, height, width, generator=torch.Generator().manual_seed(0)) < 0.7
    missing[:, :, 0, 0] = False
    images = torch.full((4, 3, height, width), 0.3).masked_fill(missing, float("nan"))
    torch.testing.assert_close(fill_missing(images, missing), torch.full((4, 3, height, width), 0.3))


def test_a_filling_lies_between_the_known_values_and_is_zero_where_nothing_is_known() -> None:
    images = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    missing = torch.zeros(2, 1, 20, 20, dtype=torch.bool)
    missing[0, :, 4:16, 4:16] = True
    missing[1] = True
    filled = fill_missing(images, missing)
    assert filled[0].min() >= images[0].min()
    assert filled[0].max() <= images[0].max()
    assert torch.equal(filled[1], torch.zeros(3, 20, 20))


@pytest.mark.parametrize("mask", MASKS)
def test_known_pixels_stay_bit_for_bit_and_get_no_gradient(mask: str) -> None:
    task = Inpainting(InpaintingOptions(mask=mask), 32)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    condition = task.degrade(images, keys(3))
    missing = condition[:, 3:].bool().expand(-1, 3, -1, -1)
    output = torch.full((3, 3, 32, 32), 0.7, requires_grad=True)
    composed = task.compose(condition, output)
    assert torch.equal(composed[~missing], images[~missing])
    assert not torch.equal(composed[missing], task.baseline(condition)[missing])
    (gradient,) = torch.autograd.grad(composed.sum(), output)
    assert (gradient[~missing] == 0).all()
    assert (gradient[missing] != 0).any()
    shown = task.show(condition)
    assert torch.equal(shown[~missing], images[~missing])
    assert (shown[missing] == 0).all()


def test_what_is_hidden_does_not_reach_the_condition() -> None:
    task = Inpainting(InpaintingOptions(), 32)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    condition = task.degrade(images, keys(1))
    other = torch.where(condition[:, 3:].bool(), torch.ones_like(images), images)
    assert torch.equal(task.degrade(other, keys(1)), condition)


def test_transparent_pixels_are_missing() -> None:
    task = Inpainting(InpaintingOptions(), 32)
    picture = torch.full((1, 4, 6, 6), 0.5)
    picture[:, :, 2:4, 2:4] = -1
    condition = task.inputs_from_picture(picture)
    assert condition[0, 3].sum() == 4
    torch.testing.assert_close(condition[:, :3], torch.full((1, 3, 6, 6), 0.5))


@pytest.mark.parametrize(("alpha", "share"), [(1.0, "0.0"), (-1.0, "1.0")])
def test_a_picture_without_holes_or_without_anything_else_is_refused(alpha: float, share: str) -> None:
    task = Inpainting(InpaintingOptions(), 32)
    picture = torch.cat([torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), alpha)], dim=1)
    with pytest.raises(ValueError, match=rf"transparent pixels.*the transparent shares are \[{share}\]"):
        task.inputs_from_picture(picture)


def test_an_unknown_mask_or_share_is_refused() -> None:
    with pytest.raises(ValidationError, match="'boxes' or 'free_form'"):
        InpaintingOptions(mask="box")
    for share in (0, 0.9, float("nan")):
        with pytest.raises(ValidationError, match="share"):
            InpaintingOptions(share=share)
