"""What a pixel depends on is measured right, and tiles give what the whole gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.exported import apply
from trainables.generators import GENERATORS
from trainables.networks import build_generator, build_task
from trainables.tasks import TASKS, Task
from trainables.tiling import Tiling, reach_of


def task_of(name: str, **options: Any) -> Task:
    return build_task(TASKS[name].Options(**options), 32)


def generator(task: Task, name: str, **options: Any) -> nn.Module:
    """Of random weights, those of its last layer too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = build_generator(GENERATORS[name].Options(**options), task, "efficientnet_lite0")
        nn.init.normal_(made.decoder.to_image.weight, std=0.05)  # type: ignore[union-attr, arg-type]
    return made.eval().requires_grad_(False)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("place", range(4))
def test_the_reach_is_the_distance_to_the_farthest_pixel_that_matters(place: int) -> None:
    made = generator(task_of("denoising"), "unet", depth=2, channels=4, blocks=1)
    reach = reach_of(made, 3)
    assert reach is not None
    images = picture(128, 128)[None].double()
    made = made.double()
    row = 64 + place

    def matters(distance: int) -> bool:
        other = images.clone()
        other[:, :, : row - distance + 1] += 0.5
        return bool((made(other) != made(images))[:, :, row].any())

    assert not matters(reach + 1)
    farthest = max(distance for distance in range(reach + 1) if matters(distance))
    assert farthest >= reach - 4, "where it lies relative to the stride makes a difference, and padding reaches further"


@pytest.mark.parametrize(("name", "options"), [("unet", {"depth": 2, "channels": 8}), ("encoder_decoder", {"channels": 8})])
@pytest.mark.parametrize(
    ("task", "height", "width"),
    [(task_of("denoising"), 301, 420), (task_of("super_resolution", scale=4), 75, 105), (task_of("colorization"), 301, 420)],
    ids=lambda x: getattr(getattr(x, "options", None), "name", None),
)
def test_tiles_give_what_the_whole_gives(name: str, options: dict[str, Any], task: Task, height: int, width: int) -> None:
    made = generator(task, name, **options)
    given = picture(height, width)
    whole = apply(made, task, given)
    bands = list(Tiling(made, task, 0.066).bands(lambda t, l, b, r: given[:, t:b, l:r], height, width))  # noqa: E741
    assert len(bands) > 1
    tiled = torch.cat(bands, dim=1)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().max()) < 2e-5, "by the order of summation alone"
    assert float((whole - apply(made, task, picture(height, width, seed=1))).abs().max()) > 0.1


class Global(nn.Module):
    """It subtracts the picture's mean."""

    stride, z_dim = 1, 0

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * (images - images.mean(dim=(2, 3), keepdim=True))


def test_what_looks_at_the_whole_picture_is_not_made_of_tiles() -> None:
    assert reach_of(Global(), 3) is None
    task = task_of("denoising")
    message = r"300 x 300 pixels are 0.1 Mpx, but at most 0.05 Mpx are made at once, and the generator's trunk looks at the whole"
    with pytest.raises(ValueError, match=message):
        apply(Global(), task, picture(300, 300), megapixels=0.05)
    assert apply(Global(), task, picture(200, 200), megapixels=0.05).shape == (3, 200, 200)
    torn = torch.cat([picture(300, 300), -torch.ones(1, 300, 300)])
    inpainting = task_of("inpainting")
    with pytest.raises(ValueError, match=r"the task 'inpainting' looks at the whole picture"):
        apply(generator(inpainting, "unet", depth=1, channels=2), inpainting, torn, megapixels=0.05)
