"""How many images to evaluate, and how often: chosen once for a sweep, from a measurement, to keep within a budget.

All trials must be judged by the same metric at the same points of their training, so the choice is made before the first of
them and holds for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

N_CHOICES = (250, 500, 1000, 2000, 5000, 10_000)
MOST_EVALUATIONS = 40
FEWEST_EVALUATIONS = 8


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What training and evaluating cost one worker group."""

    training_seconds_per_kimg: float
    evaluation_seconds_per_image: float  # generating and embedding
    evaluation_seconds_fixed: float  # everything that does not grow with n: distances, checkpoint

    def __post_init__(self) -> None:
        if self.training_seconds_per_kimg <= 0 or self.evaluation_seconds_per_image <= 0 or self.evaluation_seconds_fixed < 0:
            raise ValueError(f"measured times must be positive, but got {self}")

    def evaluation_seconds(self, n: int) -> float:
        return self.evaluation_seconds_fixed + n * self.evaluation_seconds_per_image


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """How a sweep evaluates: the same for all of its trials."""

    n: int
    every_kimg: float
    share: float  # evaluation time over training time
    within_budget: bool
    explanation: str


def measure_evaluation(runs: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(seconds per image, fixed seconds) from two or more timed evaluations (n, seconds), by least squares.

    Raises:
        ValueError: fewer than two different n, or times that do not grow with n.
    """
    mean_n = sum(n for n, _ in runs) / max(len(runs), 1)
    mean_s = sum(s for _, s in runs) / max(len(runs), 1)
    spread = sum((n - mean_n) ** 2 for n, _ in runs)
    if spread == 0:
        raise ValueError(f"two evaluations of different n are needed, but got {list(runs)}")
    slope = sum((n - mean_n) * (s - mean_s) for n, s in runs) / spread
    if slope <= 0:
        raise ValueError(f"evaluating more images took no longer, so these times cannot be used: {list(runs)}")
    return slope, max(mean_s - slope * mean_n, 0.0)


def choose_evaluation(
    measured: Measurement, *, kimg: float, budget: float = 0.1, n_choices: Sequence[int] = N_CHOICES, smallest_n: int = 500
) -> EvaluationPlan:
    """The largest n that leaves a trial at least 8 evaluations within the budget, at up to 40.

    More images lower the bias and noise of every value; more evaluations let the scheduler stop a bad trial earlier. So first
    n is made as large as 8 evaluations allow, then evaluations are made as frequent as the budget allows. When not even
    ``smallest_n`` fits, smaller choices are tried; when none fits, the smallest is taken 8 times, over budget, and the plan
    says so.

    Args:
        measured: times of one worker group.
        kimg: length of a full trial.
        budget: evaluation time over training time, for example 0.1.
        n_choices: numbers of images to choose from.
        smallest_n: below this, values are noisy enough to mislead the scheduler: taken only where nothing else fits.
    """
    if not (kimg > 0 and 0 < budget <= 1 and n_choices and min(n_choices) >= 2):
        raise ValueError(f"kimg > 0, 0 < budget <= 1 and n >= 2 must hold, but got {kimg=}, {budget=}, {n_choices=}")
    training = measured.training_seconds_per_kimg * kimg
    allowed = budget * training

    def evaluations(n: int) -> int:
        return min(int(allowed / measured.evaluation_seconds(n) + 1e-9), MOST_EVALUATIONS)

    fitting = [n for n in n_choices if evaluations(n) >= FEWEST_EVALUATIONS]
    n = max(fitting, default=min(n_choices))
    count = evaluations(n) if fitting else FEWEST_EVALUATIONS
    share = count * measured.evaluation_seconds(n) / training
    text = (
        f"n={n} images every {kimg / count:g} kimg: {count} evaluations of {measured.evaluation_seconds(n):.3g} s in a trial of "
        f"{training:.4g} s, {share:.1%} of the training time (budget {budget:.0%})"
    )
    if not fitting:
        text += f"; over budget: even n={n}, {FEWEST_EVALUATIONS} times, does not fit. Train longer, or allow a larger budget"
    elif n < smallest_n:
        text += f"; n={n} is below {smallest_n}: values will be noisy. A larger budget allows more images"
    return EvaluationPlan(n=n, every_kimg=kimg / count, share=share, within_budget=bool(fitting), explanation=text)
