"""Two workers with half the batch each compute the losses and gradients of one with the whole: every regulariser, every form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.test_feature_distances import CASES, random_features
from tests.contracts.test_regularisers import SmallDiscriminator, build, moved, step_of
from tests.trainables.peers import alone, run_group
from trainables.collective import Collective
from trainables.losses import REGULARISERS, FeatureLossOptions, feature_loss

STEPS = 3


def _regularisers(collective: Collective) -> dict[str, Any]:
    """Value, D's averaged gradients and state after a few steps, in float64."""
    results = {}
    for name in REGULARISERS:
        discriminator, pretrained = moved(SmallDiscriminator()).eval().double(), SmallDiscriminator().double()
        regulariser = build(name).double()
        total = torch.zeros((), dtype=torch.double)
        for seed in range(STEPS):
            total = total + regulariser(step_of(discriminator, pretrained, seed, collective.share(4)), collective)
        total.backward()
        collective.average_gradients(discriminator.parameters())
        gradients = {key: p.grad for key, p in discriminator.named_parameters() if p.grad is not None}
        results[name] = {"value": total.detach(), "gradients": gradients, "state": regulariser.state_dict()}
    return results


def _feature_losses(collective: Collective) -> dict[str, Any]:
    """Value and the averaged gradient of what made the generated features, in float64."""
    results = {}
    for form, distance in CASES:
        options = FeatureLossOptions(layers=("a",), form=form, distance=distance)
        scale = nn.Parameter(random_features(0, (1, 3, 5, 5), torch.double))
        rows = collective.share(4)
        fake, real = (random_features(seed, dtype=torch.double)[rows] for seed in (1, 2))
        value = feature_loss({"a": fake * scale}, {"a": real}, options, collective)
        value.backward()
        collective.average_gradients([scale])
        results[f"{form} {distance}"] = {"value": value.detach(), "gradients": {"scale": scale.grad}, "state": {}}
    return results


def losses(rank: int, folder: Path) -> dict[str, Any]:
    return _regularisers(Collective()) | _feature_losses(Collective())


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_group(2, (losses,), tmp_path_factory.mktemp("losses"))["losses"]


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return _regularisers(alone()) | _feature_losses(alone())


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REGULARISERS, *(f"{form} {distance}" for form, distance in CASES)])
def test_two_workers_compute_what_one_does(workers: list[dict[str, Any]], one: dict[str, Any], name: str) -> None:
    first, second = (worker[name] for worker in workers)
    torch.testing.assert_close((first["value"] + second["value"]) / 2, one[name]["value"], rtol=1e-10, atol=1e-12)
    for worker in (first, second):
        assert worker["gradients"].keys() == one[name]["gradients"].keys()
        for key, gradient in one[name]["gradients"].items():
            torch.testing.assert_close(worker["gradients"][key], gradient, rtol=1e-9, atol=1e-12)
        for key, value in one[name]["state"].items():
            torch.testing.assert_close(worker["state"][key], value, rtol=1e-12, atol=1e-14)
            assert torch.equal(first["state"][key], second["state"][key]), "workers hold the same state bit for bit"
