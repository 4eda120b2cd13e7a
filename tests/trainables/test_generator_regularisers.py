"""The formula of each regulariser of G, worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.test_generator_regularisers import ALONE, a_step, build, generator, moved, step_of
from trainables.collective import Collective
from trainables.losses import GeneratorStep
from trainables.losses.regularisers.path_length import path_lengths
from trainables.networks import features_of

LAYERS, W_DIM, SIDE = 3, 2, 4

# Path length


class Linear(nn.Module):
    """G(w) = Σ_l A_l w_l, with w_l = z for each layer."""

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        drawn = torch.randn(LAYERS, 3, SIDE, SIDE, W_DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.a = nn.Parameter(drawn * scale)

    def styles(self, z: Tensor, **_: Any) -> Tensor:
        return z[:, None].expand(-1, LAYERS, -1)

    def pictures(self, styles: Tensor, keys: Tensor | None = None) -> Tensor:
        return torch.einsum("nlw,lchvw->nchv", styles, self.a)


def linear_step(network: nn.Module, count: int = 2000) -> GeneratorStep:
    z = torch.randn(count, W_DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GeneratorStep(generator=network, inputs=z, places=range(count))


def test_the_lengths_of_a_linear_generator() -> None:
    """Each is √(mean over layers of ||A_lᵀ y||²) for a y of normal noise over √(H W): E length² = mean_l ||A_l||² / (H W)."""
    network = Linear()
    lengths = path_lengths(network, linear_step(network).inputs).detach()
    wanted = network.a.detach().flatten(1).square().sum(1).mean() / SIDE**2
    torch.testing.assert_close(lengths.square().mean(), wanted, rtol=0.05, atol=0)
    assert lengths.std() > 0.1 * lengths.mean(), "each sample has a y of its own"
    double = Linear(scale=2.0)
    torch.testing.assert_close(path_lengths(double, linear_step(double).inputs).detach(), 2 * lengths)


def test_path_length_by_hand() -> None:
    """Half of the samples; the average starts at the first step's, of which the penalty is then the variance."""
    network = Linear()
    step = linear_step(network, count=8)
    lengths = path_lengths(network, step.inputs).detach()
    penalty = build("path_length", decay=0.1)
    first = penalty(step, ALONE)
    seen = lengths[::2]
    torch.testing.assert_close(first.detach(), seen.var(unbiased=False))
    torch.testing.assert_close(penalty.average, seen.mean())
    double = linear_step(Linear(scale=2.0), count=8)
    average = seen.mean() * (0.9 + 0.1 * 2)
    torch.testing.assert_close(penalty(double, ALONE).detach(), (2 * seen - average).square().mean())
    torch.testing.assert_close(penalty.average, average)
    assert not penalty.average.requires_grad
    torch.testing.assert_close(build("path_length", batch_shrink=1)(step, ALONE).detach(), lengths.var(unbiased=False))


def test_the_gradient_of_path_length_by_hand() -> None:
    """Scaling G by s scales every length: d/ds (s L - a)² at 1 = 2 L (L - a), with a a constant."""
    network = Linear()
    step = linear_step(network, count=8)
    penalty = build("path_length")
    seen = path_lengths(network, step.inputs).detach()[::2]
    penalty.average.fill_(0.5)
    penalty(step, ALONE).backward()
    assert network.a.grad is not None
    slope = (network.a.grad * network.a.detach()).sum()
    average = torch.lerp(torch.tensor(0.5, dtype=torch.float64), seen.mean(), 0.01)
    torch.testing.assert_close(slope, (2 * seen * (seen - average)).mean())


class OneOf(Collective):
    """One of several workers, which is told the others' sums."""

    def __init__(self, others: Tensor) -> None:
        self.rank, self.world_size, self.others = 0, 2, others

    def sum(self, x: Tensor) -> Tensor:
        return x + self.others


def test_shares_of_other_sizes_add_up_to_the_whole() -> None:
    """One worker has two of the three samples that are looked at, or none: the mean of both values is that of all."""
    network = Linear()
    whole = linear_step(network, count=6)
    lengths = path_lengths(network, whole.inputs).detach()[::2]
    for cut in (3, 1, 0):
        values = []
        for rows in (slice(None, cut), slice(cut, None)):
            step = GeneratorStep(generator=network, inputs=whole.inputs[rows], places=whole.places[rows])
            other = path_lengths(network, whole.inputs).detach()[::2][(torch.arange(0, 6, 2) >= cut) == (rows.stop is not None)]
            values.append(build("path_length")(step, OneOf(torch.tensor([other.sum(), len(other)]))))
        torch.testing.assert_close(torch.stack(values).mean().detach(), lengths.var(unbiased=False))


def test_path_lengths_second_derivative_is_right() -> None:
    """Against finite differences in a weight of the mapping, of a convolution and of a style layer, in float64."""
    network = moved(generator(torch.float64))
    step = step_of(network, network)

    def value() -> Tensor:
        penalty = build("path_length", decay=1e-12)  # an average as good as constant, as the gradient takes it
        penalty.average = torch.tensor(0.2, dtype=torch.float64)
        return penalty(step, ALONE)

    value().backward()
    for key in ("mapping.fc1.weight", "synthesis.b8.conv1.weight", "synthesis.b16.conv0.affine.weight"):
        parameter = network.get_parameter(key)
        values = []
        for change in (1e-5, -2e-5):
            with torch.no_grad():
                parameter.view(-1)[3] += change
            values.append(float(value().detach()))
        with torch.no_grad():
            parameter.view(-1)[3] += 1e-5
        assert parameter.grad is not None
        assert float(parameter.grad.view(-1)[3]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_path_length_is_float32_inside_autocast() -> None:
    wanted, penalty = build("path_length")(a_step(), ALONE), build("path_length")
    with torch.autocast("cpu", torch.bfloat16):
        value = penalty(a_step(), ALONE)
    assert value.dtype == torch.float32
    assert torch.equal(value, wanted)


def test_path_length_of_a_generator_whose_mapping_is_frozen() -> None:
    step = a_step()
    step.generator.mapping.requires_grad_(False)
    build("path_length")(step, ALONE).backward()
    assert step.generator.synthesis.b8.conv1.weight.grad.abs().sum() > 0


# Staying near the start


def test_l2_sp_by_hand() -> None:
    """½ ((3 - 1)² + 0² + (0 - 2)²), whose gradient is the way moved."""
    w = nn.Parameter(torch.tensor([3.0, 5.0, 0.0]))
    step = a_step()
    step = GeneratorStep(**{**vars(step), "trained": [("w", w)], "initial": {"w": torch.tensor([1.0, 5.0, 2.0])}})
    value = build("l2_sp")(step, ALONE)
    value.backward()
    assert float(value.detach()) == pytest.approx(4)
    assert torch.equal(w.grad, torch.tensor([2.0, 0.0, -2.0]))  # type: ignore[arg-type]


def test_feature_distillation_by_hand() -> None:
    """Directions (0.6, 0.8) and (1, 0): 0.4² + 0.8² = 0.8; the second layer only grew. Their mean is 0.4."""
    seen = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[10.0, 0.0]])}
    wanted = {"a": torch.tensor([[5.0, 0.0]]), "b": torch.tensor([[1.0, 0.0]])}
    step = GeneratorStep(**{**vars(a_step()), "features": lambda _: seen, "initial_features": lambda _: wanted})
    assert float(build("feature_distillation")(step, ALONE)) == pytest.approx(0.4)
    assert float(build("feature_distillation", layers=1)(step, ALONE)) == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["l2_sp", "feature_distillation"])
def test_a_generator_that_has_not_moved_costs_nothing(name: str) -> None:
    assert float(build(name)(step_of(generator(), generator()), ALONE).detach()) == 0


def test_features_are_what_the_layers_make_of_the_latents_in_training() -> None:
    network = generator()
    z = torch.randn(2, 8)
    features = features_of(network, z)
    assert {name: x.shape[-1] for name, x in features.items()} == {f"synthesis.b{r}.conv1": r for r in (4, 8, 16)}
    block = network.synthesis.b16  # type: ignore[union-attr]
    pictures = network(z, noise="random")
    with torch.no_grad():
        block.conv1.bias.add_(1.0)  # type: ignore[union-attr, operator]
    assert not torch.equal(network(z, noise="random"), pictures)
    assert torch.equal(features["synthesis.b8.conv1"], features_of(network, z)["synthesis.b8.conv1"])
    assert math.isfinite(float(features["synthesis.b16.conv1"].sum().detach()))
    assert not any(module._forward_hooks for module in network.modules()), "nothing is left behind"
