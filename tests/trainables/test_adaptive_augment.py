"""Adaptive augmentation: p follows the sign of D's logits for real images, as in Karras et al. 2020."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.trainables.small import differences
from trainables.augment import AdaptiveAugment, AdaptiveOptions
from trainables.collective import Collective

ALONE = Collective()


def logits(share_real: float, count: int = 20) -> list[Tensor]:
    """One head, of which so many say real."""
    positive = round(share_real * count)
    return [torch.tensor([1.0] * positive + [-1.0] * (count - positive)).view(-1, 1, 1, 1)]


def adaptive(**options: float) -> AdaptiveAugment:
    return AdaptiveAugment(AdaptiveOptions(**({"ramp_kimg": 1, "every": 1} | options)))  # type: ignore[arg-type]


def test_r_is_the_mean_sign_with_the_same_weight_for_every_head() -> None:
    heads = [torch.tensor([3.0, -0.1]).view(2, 1, 1, 1), torch.tensor([[5.0, 1.0], [0.2, -9.0]]).view(2, 1, 1, 2)]
    r = adaptive().update(heads, 2, ALONE)
    assert float(r) == pytest.approx((0 + 2 / 4) / 2)


def test_p_rises_above_the_target_falls_below_it_and_keeps_to_its_range() -> None:
    augment = adaptive()
    seen = []
    for share in (1.0, 1.0, 0.7, 0.8, 0.9, *[0.1] * 4):  # r: 1, 1, 0.4, 0.6 (the target), 0.8, -0.8 ...
        augment.update(logits(share), 100, ALONE)
        seen.append(float(augment.p))
    assert seen == pytest.approx([0.1, 0.2, 0.1, 0.1, 0.2, 0.1, 0, 0, 0], abs=1e-6)
    for _ in range(12):
        augment.update(logits(1.0), 100, ALONE)
    assert float(augment.p) == 1
    augment.update(logits(0.0), 100, ALONE)
    assert float(augment.p) == pytest.approx(0.9), "p does not wind up beyond 1"


def test_p_goes_from_0_to_1_in_ramp_kimg() -> None:
    augment = adaptive(ramp_kimg=2, every=4)
    steps = 0
    while augment.p < 1 - 1e-6:
        augment.update(logits(1.0), 50, ALONE)
        steps += 1
    assert steps * 50 == 2000


def test_p_starts_at_the_option_or_where_the_source_s_training_ended_or_at_0() -> None:
    assert float(adaptive().p) == 0
    assert float(AdaptiveAugment(AdaptiveOptions(), source_p=0.25).p) == 0.25
    assert float(AdaptiveAugment(AdaptiveOptions(initial_p=0.5), source_p=0.25).p) == 0.5
    assert float(AdaptiveAugment(AdaptiveOptions(initial_p=0.0), source_p=0.25).p) == 0
    assert float(AdaptiveAugment(AdaptiveOptions(), source_p=1.25).p) == 1, "the official code has no upper bound"
    started = AdaptiveAugment(AdaptiveOptions(initial_p=0.5, ramp_kimg=1, every=1))
    started.update(logits(0.0), 100, ALONE)
    assert float(started.p) == pytest.approx(0.4)


def test_p_is_adjusted_every_few_steps_by_their_mean() -> None:
    augment = adaptive(every=4)
    for share in (0.0, 1.0, 1.0, 1.0):  # mean r 0.5, although the last three are above the target
        assert float(augment.p) == 0
        augment.update(logits(share), 10, ALONE)
    assert float(augment.p) == 0, "it would have gone down"
    for share in (0.5, 1.0, 1.0, 1.0):  # mean r 0.75; what came before is forgotten
        augment.update(logits(share), 10, ALONE)
    assert float(augment.p) == pytest.approx(0.04)


def test_a_step_in_parts_moves_p_as_the_whole_does_and_only_at_its_end() -> None:
    whole = adaptive(every=2)
    parts = AdaptiveAugment(whole.options, parts=2)
    for first, second in ((1.0, 0.8), (0.9, 1.0), (0.2, 0.4), (0.5, 0.5), (1.0, 1.0), (1.0, 1.0)):
        before = float(parts.p)
        parts.update(logits(first), 50, ALONE)
        assert float(parts.p) == before
        parts.update(logits(second), 50, ALONE)
        whole.update([torch.cat([*logits(first), *logits(second)])], 100, ALONE)
        assert float(parts.p) == float(whole.p)
    assert float(whole.p) == pytest.approx(0.2)


class Half(Collective):
    """One of two workers that hold the same."""

    def __init__(self) -> None:
        self.rank, self.world_size = 0, 2

    def sum(self, x: Tensor) -> Tensor:
        return 2 * x


def test_two_workers_give_the_same_bit_for_bit_even_at_the_target() -> None:
    """32 of 40 say real: r is 0.6 up to rounding, whose direction must not hang on the number of workers."""
    alone, one_of_two = adaptive(), adaptive()
    for share in (0.8, 0.7, 0.8, 0.9, 0.8):
        half = logits(share)
        alone.update([half[0].repeat(2, 1, 1, 1)], 40, ALONE)
        one_of_two.update(half, 40, Half())
        assert differences(alone.state_dict(), one_of_two.state_dict()) == []


def test_it_resumes_in_the_middle_exactly() -> None:
    whole, first = adaptive(every=3), adaptive(every=3)
    shares = (1.0, 0.9, 0.2, 1.0, 1.0, 0.9, 0.3, 0.4)
    for share in shares:
        whole.update(logits(share), 30, ALONE)
    for share in shares[:4]:
        first.update(logits(share), 30, ALONE)
    second = adaptive(every=3)
    second.load_state_dict(first.state_dict())
    for share in shares[4:]:
        second.update(logits(share), 30, ALONE)
    assert float(whole.p) > 0
    assert differences(second.state_dict(), whole.state_dict()) == []


@pytest.mark.parametrize("wrong", [{"target": 1.0}, {"ramp_kimg": 0}, {"every": 0}, {"initial_p": 1.5}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        adaptive(**wrong)
