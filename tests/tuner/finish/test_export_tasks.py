"""Sweeps of paired tasks: from a real trial's files to an export, to pictures that are the trial's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import Tensor

from tests.tuner.command import SPEC, Command
from trainables.checkpoint import TrialFiles
from trainables.collective import Collective
from trainables.evaluation import FixedInputs, TrialEvaluator, load_pictures
from trainables.gan import GanTrainer
from trainables.tasks.ranges import as_file, to_levels
from trainables.worker import evaluate
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook, State
from tuner.spec import SweepSpec, dump_spec, load_spec
from tuner.spec.trial_config import trial_config

N = 3
METRIC = f"psnr[n={N}]"
TASKS = {
    "super_resolution": {"name": "super_resolution", "scale": 2, "held_out": 0.25},
    "denoising": {"name": "denoising", "kind": "poisson", "photons": [10, 60], "held_out": 0.25},
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec_of(folder: Path, name: str) -> SweepSpec:
    """The example's kind of sweep, on the twelve pictures of ``command``."""
    generator = {"name": "encoder_decoder", "depth": 2, "channels": 8}
    trial = {
        "batch_size": 4,
        "generator": generator,
        "discriminator": {"channels": 8, "layers": 1},
        "optimizer": {"generator_lr": 1e-3},
        "ema": {"halflife_kimg": 0.001},
        "evaluation": {"metric": METRIC, "every_kimg": 0.012, "preview": 3},
    }
    space = {"generator.frozen_depth": {"int": {"low": 0, "high": 1}}}
    changes = {"trial": trial, "space": space, "budget": {"trials": 1, "kimg": 0.024}, "scheduler": {"name": "none"}}
    data = SPEC | {"name": name.replace("_", "-"), "task": TASKS[name]} | changes
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_spec(folder / "sweep.yaml")


def trained(spec: SweepSpec) -> tuple[GanTrainer, FixedInputs, float]:
    """Trial 0, trained in this process for six steps, evaluated twice and written as a worker writes it; its PSNR."""
    values = {"generator.frozen_depth": 1}
    config, paths = trial_config(spec.base, values), SweepPaths(spec.root)
    pictures = load_pictures(config.task, spec.data, str(spec.root / "cache"))
    trainer = GanTrainer(config, pictures.train)
    inputs = FixedInputs(trainer.task, pictures, trainer.z_dim, trainer.device)
    evaluator = TrialEvaluator(config.evaluation.names, inputs, cache_dir=str(spec.root / "cache"), collective=Collective())
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    records = RecordBook(paths.trials)
    record = records.open(0, values)
    report: dict[str, Any] = {"score_best": math.inf}
    for step in config.evaluation_steps():
        while trainer.step_index < step:
            trainer.step()
        report = {
            "number": 0, "step": step, "kimg": trainer.kimg, "score_best": report["score_best"], "losses": {}, "problem": None,
            "resumed": False, "seconds_training": 1.0, "seconds_to_first_step": 1.0,
        }  # fmt: skip
        report |= evaluate(trainer, evaluator, TrialFiles(paths.trial(0)), report)
        record.add(report)
    records.end(0, State.COMPLETE, "reached its budget of images")
    assert report["score"] == report["score_best"], "the newest generator is the best, and so the one that is exported"
    return trainer, inputs, report["metrics"][METRIC]


def degraded(name: str, condition: Tensor, target: Tensor) -> Tensor:
    """The pictures that a user would have: [N, 3, h, w]; of super-resolution the small ones, before they are enlarged."""
    if name == "super_resolution":
        return as_file(F.interpolate(target, scale_factor=0.5, mode="bicubic", antialias=True))
    return condition


def save(folder: Path, pictures: Tensor) -> None:
    folder.mkdir()
    for number, picture in enumerate(to_levels(pictures).byte()):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_export_makes_the_trial_s_own_pictures(command: Command, name: str) -> None:
    spec = spec_of(command.folder, name)
    trainer, inputs, psnr = trained(spec)
    said = command("export", str(spec.root))
    assert said.code == 0, said.err
    export = spec.root / "export" / "trial-0000"
    assert f"more: gansweep apply {export} PICTURE... --out DIR" in said.out
    with Image.open(export / "samples.png") as preview:
        assert preview.size == (3 * (3 * 34 + 2),) * 2, "three times as large, three rows of input, output and target"

    conditions, targets = inputs(torch.arange(N))
    pictures = degraded(name, conditions, targets)
    assert torch.equal(trainer.task.inputs_from_picture(pictures), conditions), "a file loses nothing that G was given"
    save(command.folder / "mine", pictures)
    out = command.folder / "restored"
    said = command("apply", str(export), str(command.folder / "mine"), "--out", str(out))
    assert said.code == 0, said.err

    own = to_levels(trainer.sample(conditions))
    files = [np.array(Image.open(out / f"{number}.png")) for number in range(N)]
    restored = torch.from_numpy(np.stack(files)).permute(0, 3, 1, 2).float()
    assert restored.shape == (N, 3, 32, 32)
    assert float((restored - own).abs().max()) <= 1, "one picture at a time and all at once differ by rounding alone"
    errors = (restored - to_levels(targets)).double().square().mean(dim=(1, 2, 3))
    assert float((10 * torch.log10(255**2 / errors)).mean()) == pytest.approx(psnr, abs=0.01)
    baseline = to_levels(trainer.task.baseline(conditions))
    assert float((restored - baseline).abs().max()) > 1, "G does something, so that the comparison means something"

    for preview in SweepPaths(spec.root).trial(0).local.glob("preview_*.png"):  # type: ignore[union-attr]
        preview.write_bytes(preview.read_bytes()[:100])
    said = command("export", str(spec.root), "--out", str(command.folder / "again"))
    assert said.code == 2
    assert "error: the preview " in said.err
    assert "is gone or damaged" in said.err
