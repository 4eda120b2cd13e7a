"""A training step as a GPU would see it, without one: on the meta device, where tensors have shapes and no values.

    python -m tests.trainables.rehearsal

What would wait for a GPU (``.item()``, ``bool(x)``, ``x[mask]``, ``x.cpu()``) needs values and raises there. What is copied to
it, which waits too unless the memory is pinned, is counted with its place in the code.
"""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from search_spaces import preset_names
from trainables.config import TrialConfig
from trainables.gan import GanTrainer
from tuner.spec import load_spec
from tuner.spec.checks import example_configs

ROOT = Path(__file__).parents[2]
PICTURES = 40
WARM_UP = 1  # steps in which what is kept on the device gets there

PRESETS: dict[str, dict[str, Any]] = {
    "few_shot_generation": {"generator": {"channels": 8}},
    "stylegan2_transfer": {
        "generator": {"name": "stylegan2", "channel_base": 512, "channel_max": 32, "z_dim": 16, "w_dim": 16},
        "adaptive": {},
        "regularisers": [{"name": "r1"}],
        "generator_regularisers": [{"name": "path_length"}],
    },
}
"""What each shipped space needs beside it, and what keeps the networks small."""


class Pictures:
    """As many as ``PICTURES``, all black."""

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution

    def __len__(self) -> int:
        return PICTURES

    def pixels(self, indices: Tensor) -> Tensor:
        return torch.zeros(len(indices), 3, self.resolution, self.resolution, dtype=torch.uint8)

    def batch(self, indices: Tensor) -> Tensor:
        return self.pixels(indices).float() / 127.5 - 1


class Copies:
    """Counts copies from the host to the meta device inside, by the line of this project that asked for them."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self.places.total()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        with _Called(self.places), _Dispatched(self.places):
            yield


class _Dispatched(TorchDispatchMode):
    """Copies by operators: those whose result is on the device, but not all of what they are given."""

    def __init__(self, places: Counter[str]) -> None:
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        # A number of no dimensions is handed to a kernel as an argument, unless it is itself what is copied.
        copies = func._schema.name in ("aten::_to_copy", "aten::copy_")
        if any(x.device.type == "cpu" and (x.ndim or copies) for x in given) and any(x.device.type == "meta" for x in made):
            self.places[f"{_place()} {func._schema.name}"] += 1
        return result


class _Called(TorchFunctionMode):
    """Copies that no operator shows: tensors made on the device of numbers that Python has."""

    def __init__(self, places: Counter[str]) -> None:
        super().__init__()
        self.places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.device.type == "meta":
            self.places[f"{_place()} {func.__name__}"] += 1
        return result


def _place() -> str:
    frames = traceback.extract_stack()
    frame = next(f for f in reversed(frames) if "/trainables/" in f.filename and "/tests/" not in f.filename)
    return f"{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}"


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Lets a `GanTrainer` be built and step on the meta device, which knows neither autocast nor fused optimizers.

    Whether two networks are equal, which is asked when a trainer is built, is answered by yes.
    """

    def autocast(device_type: str, *args: Any, **options: Any) -> Any:
        return contextlib.nullcontext() if device_type == "meta" else real_autocast(device_type, *args, **options)

    real_autocast = torch.autocast
    with (
        patch("torch.autocast", autocast),
        patch("torch.equal", lambda a, b: a.shape == b.shape),
        patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["cpu", "cuda", "meta"]),
        patch("torch.optim.adam._device_dtype_check_for_fused", lambda *args, **options: None),
    ):
        yield


class Operations(TorchDispatchMode):
    """The names of all operators that are used inside, forward and backward, such as "convolution_backward"."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def operations_of(config: TrialConfig) -> set[str]:
    """Those of a step in which all regularisers of a trial are due."""
    with without_values():
        trainer = _trainer(config)
        trainer.step_index = _all_due(config)
        operations = Operations()
        with operations:
            trainer.step()
    return operations.names


def rehearsed(config: TrialConfig) -> Copies:
    """The copies of a step in which all regularisers of a trial are due.

    Raises:
        RuntimeError, NotImplementedError: it would wait for the device.
    """
    with without_values():
        trainer = _trainer(config)
        for _ in range(WARM_UP):
            trainer.step()
        trainer.step_index = _all_due(config)
        copies = Copies()
        with copies.counted():
            trainer.step()
    return copies


def _trainer(config: TrialConfig) -> GanTrainer:
    pictures = Pictures(config.resolution)
    return GanTrainer(config, pictures, style=pictures if getattr(config.task, "style", None) else None, device="meta")


def _all_due(config: TrialConfig) -> int:
    """A step after pre-training at which every lazy regulariser is due."""
    every = [options.every for options in (*config.regularisers, *config.generator_regularisers)]
    multiple = torch.tensor(every or [1]).prod().item()
    return int(multiple * (1 + config.joint_step // multiple))


def shipped() -> dict[str, TrialConfig]:
    """The trials of every example and preset, one of each kind of networks and augmentation, by name."""
    specs = {str(file.relative_to(ROOT)): load_spec(file) for file in sorted(ROOT.glob("examples/*/*.yaml"))}
    with tempfile.TemporaryDirectory() as folder:
        for preset in preset_names():
            spec = yaml.safe_load((ROOT / "examples/tasks/generation.yaml").read_text())
            spec |= {"space": preset, "trial": PRESETS[preset] | {"evaluation": spec["trial"]["evaluation"]}}
            spec["data"]["resolution"] = 64
            file = Path(folder, "spec.yaml")
            file.write_text(yaml.safe_dump(spec))
            specs[f"preset {preset}"] = load_spec(file)
    return {f"{name} #{index}": config for name, spec in specs.items() for index, config in enumerate(_kinds(spec))}


def _kinds(spec: Any) -> list[TrialConfig]:
    """Its trials, of those that are made of the same parts only one."""
    kinds: dict[Any, TrialConfig] = {}
    for config in example_configs(spec):
        config = TrialConfig.model_validate(
            config.model_dump() | {"weights": "random", "batch_size": 8, "source": None, "kimg": 100}
        )
        members = tuple(member.name for member in getattr(config.discriminator, "members", ()))
        kinds.setdefault((config.generator.name, config.discriminator.name, members, config.augment), config)
    return list(kinds.values())


def main() -> None:
    print("| trial | copies from the host a step | where |\n|---|---|---|")
    for name, config in shipped().items():
        try:
            copies = rehearsed(config)
            told = "; ".join(f"{place} x{count}" for place, count in sorted(copies.places.items()))
            print(f"| {name} | {copies.count} | {told} |", flush=True)
        except (RuntimeError, NotImplementedError) as error:
            frame = next(
                f
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if "/trainables/" in f.filename and "/tests/" not in f.filename
            )
            print(f"| {name} | waits: {str(error)[:80]} | {frame.filename}:{frame.lineno} |", flush=True)


if __name__ == "__main__":
    main()
