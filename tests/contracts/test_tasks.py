"""What every entry of TASKS promises, by its being registered: on real emoji, on flat pictures and on odd sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.trainables.small import FACES
from trainables.data import load_dataset
from trainables.randomness import sample_keys
from trainables.tasks import TASKS, Task

REQUIRED: dict[str, dict[str, Any]] = {"style_transfer": {"style": "pictures"}}
"""Options that a task cannot be built without."""
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TASKS),
    ("super_resolution", {"scale": 4}),
    ("denoising", {"kind": "poisson"}),
    ("denoising", {"kind": "jpeg"}),
    ("denoising", {"kind": "photographs"}),
    ("denoising", {"kind": "photographs", "shuffled": True}),
    ("super_resolution", {"degradation": "photographs"}),
    ("inpainting", {"mask": "boxes"}),
    ("inpainting", {"share": 0.6}),
]
SIZES = [(32, 32), (33, 47), (8, 8), (5, 3), (1, 1)]


def build(name: str, resolution: int = 32, **options: Any) -> Task:
    return TASKS[name](TASKS[name].Options(**REQUIRED.get(name, {}) | options), resolution)


TASKS_AND_VARIANTS = [build(name, **options) for name, options in VARIANTS]


def _name(task: Task) -> str:
    name = task.options.name
    given = task.options.model_dump(exclude_unset=True)
    return "-".join([name, *(str(value) for key, value in given.items() if key not in REQUIRED.get(name, ()))])


def over(tasks: Sequence[Task]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", tasks, ids=_name)


every_task = over(TASKS_AND_VARIANTS)
from_pictures = over([task for task in TASKS_AND_VARIANTS if task.in_channels])
paired = over([task for task in TASKS_AND_VARIANTS if task.paired])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """32 emoji faces, [32, 3, 32, 32]."""
    return load_dataset(FACES, tmp_path_factory.mktemp("packed")).batch(torch.arange(32))


def keys(*samples: int) -> Tensor:
    return sample_keys(torch.tensor(samples), 0, "degrade", 0)


def pictures(height: int, width: int, count: int = 3) -> Tensor:
    """Coloured noise on 8-bit levels, over the whole range."""
    levels = torch.randint(0, 256, (count, 3, height, width), generator=torch.Generator().manual_seed(7))
    return levels.float() / 127.5 - 1


def random_output(task: Task, condition: Tensor, scale: float = 0.3, seed: int = 0) -> Tensor:
    n, _, height, width = condition.shape
    return scale * torch.randn(n, task.out_channels, height, width, generator=torch.Generator().manual_seed(seed))


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(float(((a - b) / 2).square().mean()))


def draws(task: Task) -> bool:
    """Whether it degrades equal pictures differently."""
    return task.options.name in ("denoising", "inpainting") or getattr(task.options, "degradation", "") == "photographs"


@every_task
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shapes_and_ranges_at_every_size(task: Task, height: int, width: int) -> None:
    images = pictures(height, width)
    condition = task.degrade(images, keys(0, 1, 2))
    assert condition.shape == (3, task.in_channels, height, width)
    assert condition.dtype == torch.float32
    assert condition.isfinite().all()
    results = [task.compose(condition, random_output(task, condition).clamp(-1, 1))]
    if task.in_channels:
        assert condition.abs().max() <= 1 + 1e-6
        results += [task.show(condition), task.baseline(condition), task.compose(condition, random_output(task, condition, 50))]
    for picture in results:
        assert picture.shape == images.shape
        assert picture.dtype == torch.float32
        assert picture.abs().max() <= 1 + 1e-6


@every_task
def test_a_sample_does_not_depend_on_who_shares_the_batch(task: Task, faces: Tensor) -> None:
    together = task.degrade(faces[:5], keys(0, 1, 2, 3, 4))
    alone = task.degrade(faces[3:4], keys(3))
    assert torch.equal(together[3:4], alone)
    output = random_output(task, together)
    assert torch.equal(task.compose(together, output)[3:4], task.compose(alone, output[3:4]))


@every_task
def test_same_draws_same_condition(task: Task, faces: Tensor) -> None:
    before = faces.clone()
    first, again = (task.degrade(faces[:2], keys(0, 1)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(faces, before), "the pictures given are not changed"
    torch.manual_seed(1)
    state = torch.get_rng_state()
    task.degrade(faces[:2], keys(0, 1))
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not used"


@every_task
def test_two_samples_are_degraded_differently_or_all_alike(task: Task, faces: Tensor) -> None:
    """Where a task draws random numbers, equal pictures in one batch get conditions of their own."""
    first, second = task.degrade(faces[:1].expand(2, -1, -1, -1), keys(0, 1))
    assert torch.equal(first, second) is not draws(task)


@every_task
def test_a_training_step_degrades_without_waiting_for_the_device(task: Task) -> None:
    """On the meta device, which has no data: whatever were read back from the device would raise."""
    images = torch.empty(2, 3, 33, 47, device="meta")
    condition = task.degrade(images, sample_keys(torch.arange(2, device="meta"), 0, "degrade", 0))
    assert condition.device.type == "meta"
    assert condition.shape == (2, task.in_channels, 33, 47)


@paired
def test_degrading_loses_something_and_the_baseline_keeps_something(task: Task, faces: Tensor) -> None:
    condition = task.degrade(faces, keys(*range(32)))
    of_baseline = psnr(task.baseline(condition), faces)
    of_grey = psnr(torch.zeros_like(faces), faces)
    assert of_grey < of_baseline < 40
    assert all(not torch.equal(b, f) for b, f in zip(task.baseline(condition), faces, strict=True))


@from_pictures
@pytest.mark.parametrize(("height", "width"), [(32, 32), (7, 9)])
def test_an_output_of_zero_is_the_baseline(task: Task, height: int, width: int) -> None:
    condition = task.degrade(pictures(height, width), keys(0, 1, 2))
    zero = torch.zeros(3, task.out_channels, height, width)
    torch.testing.assert_close(task.compose(condition, zero), task.baseline(condition), atol=1e-6, rtol=0)


@every_task
def test_gradients_reach_the_output_and_are_finite(task: Task, faces: Tensor) -> None:
    flat = torch.stack([torch.full((3, 32, 32), value) for value in (-1.0, 0.0, 1.0)])
    condition = task.degrade(torch.cat([faces[:3], flat]), keys(*range(6)))
    for scale in (0.0, 0.3, 20.0):
        output = random_output(task, condition, scale).requires_grad_()
        weights = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        (task.compose(condition, output) * weights).sum().backward()
        assert output.grad is not None
        assert output.grad.isfinite().all()
        if scale < 1:
            assert (output.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


@paired
def test_the_target_can_be_reached_by_descent_from_far_outside_the_range(task: Task, faces: Tensor) -> None:
    """A clamp with no gradient outside would leave the output there for good."""
    target = faces[:2]
    condition = task.degrade(target, keys(0, 1))
    output = torch.full((2, task.out_channels, 32, 32), 2.5).requires_grad_()
    start = psnr(task.compose(condition, output).detach(), target)
    optimizer = torch.optim.Adam([output], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (task.compose(condition, output) - target).abs().mean().backward()
        optimizer.step()
    reached = psnr(task.compose(condition, output).detach(), target)
    assert reached > max(psnr(task.baseline(condition), target), start) + 6


@from_pictures
@pytest.mark.parametrize("value", [-1.0, -0.2, 1.0])
def test_flat_grey_pictures(task: Task, value: float) -> None:
    grey = torch.full((2, 3, 16, 16), value)
    condition = task.degrade(grey, keys(0, 1))
    for picture in (task.baseline(condition), task.show(condition)):
        assert picture.isfinite().all()
        assert picture.abs().max() <= 1 + 1e-6
    assert psnr(task.baseline(condition), grey + 1e-3) > 10


@from_pictures
@pytest.mark.parametrize(("height", "width"), [(24, 24), (9, 14)])
def test_a_picture_of_one_s_own_becomes_a_condition(task: Task, height: int, width: int) -> None:
    given = pictures(height, width, 2)
    if task.picture_mode == "RGBA":
        alpha = torch.ones(2, 1, height, width)
        alpha[..., : height // 2] = -1
        given = torch.cat([given, alpha], dim=1)
    condition = task.inputs_from_picture(given)
    times = condition.shape[-1] // width
    assert condition.shape == (2, task.in_channels, height * times, width * times)
    composed = task.compose(condition, torch.zeros(2, task.out_channels, height * times, width * times))
    torch.testing.assert_close(composed, task.baseline(condition), atol=1e-6, rtol=0)


@from_pictures
def test_a_picture_with_other_channels_is_refused(task: Task) -> None:
    for shape in [(1, 2, 8, 8), (3, 8, 8), (1, 5, 8, 8)]:
        with pytest.raises(ValueError, match=f"pictures must be {task.picture_mode}, .* but got"):
            task.inputs_from_picture(torch.zeros(shape))


@over([task for task in TASKS_AND_VARIANTS if not task.in_channels])
def test_a_task_from_noise_takes_no_picture(task: Task) -> None:
    for method in (task.show, task.baseline, task.inputs_from_picture):
        with pytest.raises(ValueError, match="takes no picture"):
            method(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", TASKS)
def test_options_name_their_task_survive_json_and_refuse_unknown_keys(name: str) -> None:
    options = TASKS[name].Options(**REQUIRED.get(name, {}))
    assert options.name == name
    assert type(options).model_validate_json(options.model_dump_json()) == options
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TASKS[name].Options(**REQUIRED.get(name, {}), nonsense=1)


@pytest.mark.parametrize("name", TASKS)
def test_defaults_name_the_metric_that_drives_the_search(name: str) -> None:
    metric = TASKS[name].DEFAULTS["evaluation"]["metric"]
    kind = metric.partition("[")[0]
    assert kind == ("psnr" if TASKS[name].paired else {"generation": "fid"}.get(name, "artfid"))
    assert ("held_out" in TASKS[name].Options.model_fields) is TASKS[name].paired
