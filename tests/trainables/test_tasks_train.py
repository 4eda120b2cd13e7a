"""Trials of every kind as a worker runs them: pictures kept back, fixed inputs, metrics, previews, resumption and guards."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.trials import BATCH, RESOLUTION, STEPS, entry, trial
from tests.trainables.small import FACES, differences
from trainables import worker
from trainables.backbones import BACKBONES, load_backbone
from trainables.checkpoint import TrialFiles, preview_name
from trainables.collective import Collective
from trainables.config import TrialConfig
from trainables.data import load_dataset
from trainables.evaluation import FixedInputs, Subset, TrialEvaluator, load_pictures
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.metrics.artfid import ContentDistance, parse_artfid
from trainables.metrics.features import quantise
from trainables.metrics.paired import PSNR_CAP
from trainables.networks import build_task
from trainables.pictures import from_png
from trainables.scoring import score
from trainables.source import save_source
from trainables.storage import Storage
from trainables.tasks import TASKS
from trainables.worker import CONTINUE, STOP, Assignment, run_trial

CPU = torch.device("cpu")
DATA = FACES.model_copy(update={"resolution": RESOLUTION})
FID = "fid[efficientnet_lite0,32px-bilinear,n=8]"
ARTFID = "artfid[efficientnet_lite0,32px-bilinear,n=8]"
STYLE = {"style": DATA.path, "style_include": "1f43*.png"}
PAIRED = [name for name in TASKS if TASKS[name].paired]
FROM_PICTURES = [name for name in TASKS if TASKS[name].in_channels]


def options(task: str, **changes: Any) -> Any:
    return TASKS[task].Options(**(STYLE if task == "style_transfer" else {}), **changes)


def inputs_of(task: str, cache: Path, data: Any = DATA) -> FixedInputs:
    made = build_task(options(task), RESOLUTION)
    return FixedInputs(made, load_pictures(made.options, data, str(cache)), z_dim=0 if made.in_channels else 8, device=CPU)


# Which pictures.


def test_a_subset_of_mirrored_pictures_has_their_mirror_images(cache: Path) -> None:
    whole = load_dataset(DATA.model_copy(update={"mirror": True}), cache)
    subset = Subset(whole, torch.tensor([1, 4, 5]))
    assert len(subset) == 6
    count = whole.images.shape[0]
    assert torch.equal(subset.batch(torch.arange(6)), whole.batch(torch.tensor([1, 4, 5, 1 + count, 4 + count, 5 + count])))
    assert torch.equal(subset.batch(torch.tensor([4])), subset.batch(torch.tensor([1])).flip(-1))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("task", PAIRED)
def test_held_out_pictures_are_never_trained_on(cache: Path, task: str, mirror: bool) -> None:
    data = DATA.model_copy(update={"mirror": mirror})
    pictures = load_pictures(options(task, held_out=0.25), data, str(cache))
    kept = pictures.held_out.batch(torch.arange(len(pictures.held_out)))
    held_out, mirrored = ({p.contiguous().numpy().tobytes() for p in images} for images in (kept, kept.flip(-1)))
    assert (len(held_out), len(pictures.train)) == (8, 48 if mirror else 24)
    config = trial(task, "unet", "patch", ("paired", "l1"), feature_loss={"form": "paired"})
    batches = GanTrainer(config, pictures.train).batches
    steps = math.ceil(len(pictures.train) / BATCH)
    seen = {p.numpy().tobytes() for step in range(steps) for p in batches.at(step).target}
    assert seen == {p.numpy().tobytes() for p in pictures.train.batch(torch.arange(len(pictures.train)))}, "all that there are"
    assert not seen & held_out
    assert not seen & mirrored


def test_style_pictures_are_what_d_calls_real_and_content_what_g_gets(cache: Path) -> None:
    pictures = load_pictures(options("style_transfer"), DATA, str(cache))
    assert pictures.style is not None
    assert pictures.reference is pictures.style
    config = trial("style_transfer", "unet", "patch", ("paired", "l1"), feature_loss={"form": "paired"})
    batch = GanTrainer(config, pictures.train, style=pictures.style).batches.at(0)
    content, style = ({p.numpy().tobytes() for p in s.batch(torch.arange(len(s)))} for s in (pictures.train, pictures.style))
    assert {p.numpy().tobytes() for p in batch.real} <= style
    assert {p.numpy().tobytes() for p in batch.inputs_g} <= content
    with pytest.raises(ValueError, match="the task 'style_transfer' needs style pictures, but got style=None"):
        GanTrainer(config, pictures.train)


# By what all trials are judged.


@pytest.mark.parametrize("task", TASKS)
def test_inputs_are_the_same_for_all_trials_and_depend_on_the_index_alone(cache: Path, task: str) -> None:
    first, other = inputs_of(task, cache), inputs_of(task, cache)
    torch.manual_seed(9)
    whole, targets = first(torch.arange(12))
    some, targets_of_some = other(torch.tensor([11, 2]))
    torch.testing.assert_close(some, whole[[11, 2]], rtol=0, atol=1e-6)
    if task != "generation":
        assert torch.equal(targets_of_some, targets[[11, 2]])
        assert torch.equal(targets, first(torch.arange(12), "preview")[1])


@pytest.mark.parametrize("task", FROM_PICTURES)
def test_a_preview_has_rows_of_input_output_and_target(cache: Path, task: str) -> None:
    inputs = inputs_of(task, cache)
    seen: list[Tensor] = []

    def sample(conditions: Tensor) -> Tensor:
        seen.append(conditions)
        return torch.full((len(conditions), 3, RESOLUTION, RESOLUTION), 0.25)

    shown, columns = inputs.preview(sample, 5)
    kinds = 3 if task in PAIRED else 2
    assert len(shown) == 5 * kinds
    assert columns % kinds == 0
    rows = shown.unflatten(0, (5, kinds))
    conditions, targets = inputs(torch.arange(5), "preview")
    assert torch.equal(seen[0], conditions)
    assert torch.equal(rows[:, 0], inputs.task.show(conditions))
    assert (rows[:, 1] == 0.25).all()
    if kinds == 3:
        assert torch.equal(rows[:, 2], targets)


def test_a_preview_of_generation_is_a_square(cache: Path) -> None:
    shown, columns = inputs_of("generation", cache).preview(lambda z: torch.zeros(len(z), 3, 8, 8), 9)
    assert (len(shown), columns) == (9, 3)


# Metrics.


def evaluator_of(inputs: FixedInputs, cache: Path, *metrics: str) -> TrialEvaluator:
    return TrialEvaluator(metrics, inputs, cache_dir=str(cache / "statistics"), collective=Collective())


def test_pairs_are_compared_with_their_own_targets(cache: Path) -> None:
    inputs = inputs_of("denoising", cache)
    evaluator = evaluator_of(inputs, cache, "psnr[n=6]", "ssim[n=6]", FID)
    noisy, targets = inputs(torch.arange(6))
    values = evaluator(lambda conditions: conditions)
    errors = (quantise(noisy).double() - quantise(targets).double()).square().mean(dim=(1, 2, 3))
    assert values["psnr[n=6]"] == pytest.approx(float((10 * (255**2 / errors).log10()).mean()), rel=1e-6)
    assert 0 < values["ssim[n=6]"] < 1
    assert values[FID] > 0
    assert evaluator.asked == ["psnr[n=6]", "ssim[n=6]", FID]
    assert 0 < (evaluator.diversity(values) or 0) < 3

    restored = {c.numpy().tobytes(): t for c, t in zip(*inputs(torch.arange(8)), strict=True)}
    perfect = evaluator(lambda conditions: torch.stack([restored[c.numpy().tobytes()] for c in conditions]))
    assert perfect["psnr[n=6]"] == pytest.approx(PSNR_CAP)
    assert perfect["ssim[n=6]"] == pytest.approx(1)


def test_without_features_there_is_no_diversity(cache: Path) -> None:
    evaluator = evaluator_of(inputs_of("denoising", cache), cache, "psnr[n=2]")
    assert evaluator.diversity(evaluator(lambda conditions: conditions)) is None


def test_artfid_of_untouched_pictures_is_that_of_their_fid_and_grows_with_the_content_lost(cache: Path) -> None:
    inputs = inputs_of("style_transfer", cache)
    evaluator = evaluator_of(inputs, cache, ARTFID)
    untouched = evaluator(lambda conditions: conditions)
    assert untouched[ARTFID] == pytest.approx(1 + untouched[FID], rel=1e-6)

    def darkened(conditions: Tensor) -> Tensor:
        return conditions * 0.3 - 0.5

    changed = evaluator(darkened)
    contents = inputs(torch.arange(8))[0]
    distance = ContentDistance(parse_artfid(ARTFID), lambda name: load_backbone(BACKBONES[name]), CPU)
    content = float(distance(quantise(darkened(contents)), quantise(contents)).mean())
    assert content > 0.05
    assert changed[ARTFID] == pytest.approx((1 + content) * (1 + changed[FID]), rel=1e-5)


@pytest.mark.parametrize("metric", ["psnr[n=4]", ARTFID])
def test_metrics_of_pairs_are_refused_where_there_are_none(cache: Path, metric: str) -> None:
    with pytest.raises(ValueError, match=r"needs .* which the task 'generation' has not"):
        evaluator_of(inputs_of("generation", cache), cache, metric)


# Whole trials.


def run(
    config: TrialConfig, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int = 99
) -> list[dict[str, Any]]:
    """The reports of a trial that a sweep would let run, or stop at a report. Ray stays out of it: verdicts are no futures."""
    monkeypatch.setattr(worker, "ray", SimpleNamespace(get=lambda verdict: verdict))
    reports: list[dict[str, Any]] = []

    def send(report: dict[str, Any]) -> str:
        reports.append(report)
        return STOP if report["problem"] or len(reports) == stop_after else CONTINUE

    assignment = Assignment(
        number=0,
        config=config.model_dump(mode="json"),
        data=DATA,
        storage=Storage(folder),
        cache_dir=str(cache),
        handed_over_at=time.time(),
    )
    run_trial(assignment, Collective(), CPU, send)
    return reports


def told(reports: list[dict[str, Any]]) -> list[Any]:
    """What reports say, but for times and whether the trial was resumed."""
    return [{k: v for k, v in report.items() if not k.startswith("seconds") and k != "resumed"} for report in reports]


TRIALS = {
    "super_resolution": ("psnr[n=6]", ("ssim[n=6]", FID)),
    "style_transfer": (ARTFID, ()),
    "generation": (FID, ()),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TRIALS)
def test_a_trial_that_was_stopped_and_resumed_reports_what_an_uninterrupted_one_does(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    metric, also = TRIALS[task]
    generator, form = ("compact", "moments") if task == "generation" else ("unet", "paired")
    config = trial(
        task,
        generator,
        "patch",
        (form, "euclidean"),
        evaluation={"metric": metric, "also": also, "every_kimg": 2 * BATCH / 1000, "preview": 4},
    ).model_copy(update={"task": options(task)})
    whole = run(config, tmp_path / "whole", cache, monkeypatch)
    assert [report["step"] for report in whole] == [STEPS // 2, STEPS]
    assert [report["last"] for report in whole] == [False, True]
    for report in whole:
        assert {metric, *also} <= report["metrics"].keys()
        assert all(math.isfinite(value) for value in report["metrics"].values())
        assert report["score"] == score(worker.parse_any_metric(metric), report["metrics"][metric])
    columns = {"super_resolution": 3, "style_transfer": 2, "generation": 2}[task]
    preview = from_png((tmp_path / "whole" / preview_name(STEPS)).read_bytes())
    assert preview.shape[-1] % (RESOLUTION + 2) == 2
    assert preview.shape[-1] // (RESOLUTION + 2) % columns == 0

    parts = run(config, tmp_path / "parts", cache, monkeypatch, stop_after=1)
    parts += run(config, tmp_path / "parts", cache, monkeypatch)
    assert [report["resumed"] for report in parts] == [False, True, True]
    assert told(parts) == told([whole[0], whole[0], whole[1]])
    states = [TrialFiles(Storage(tmp_path / name)).load(STEPS)["trainer"] for name in ("whole", "parts")]
    assert differences(*states) == []


ABSURD: dict[str, Any] = {"evaluation": {"metric": FID, "every_kimg": 0.12}, "kimg": 1.2, "feature_loss": {"layers": ()}}


@pytest.mark.slow
def test_a_discriminator_that_has_won_ends_the_trial(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"generator_lr": 1e-9, "discriminator_lr": 2e-2}
    config = trial("generation", "compact", "patch", ("moments", "euclidean"), optimizer=rates, augment=(), **ABSURD)
    reports = run(config, tmp_path, cache, monkeypatch)
    assert not reports[-1]["last"]
    assert reports[-1]["problem"].startswith("the discriminator is saturated: it was right about at least 9")
    assert all(report["problem"] is None for report in reports[:-1])


@pytest.mark.slow
def test_a_generator_that_has_collapsed_ends_the_trial(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started from one that ignores its noise, and not moved."""
    collapsed = GENERATORS["compact"](GENERATORS["compact"].Options(**entry("compact")), Frame(RESOLUTION), pytest.fail)
    for part in (collapsed.stem, *(block.modulation for block in collapsed.blocks)):
        torch.nn.init.zeros_(part.weight)
    save_source(tmp_path / "collapsed.safetensors", collapsed, {}, {})
    rates = {"generator_lr": 1e-9, "discriminator_lr": 1e-9}
    source = str(tmp_path / "collapsed.safetensors")
    config = trial("generation", "compact", "patch", ("moments", "euclidean"), optimizer=rates, source=source, **ABSURD)
    (report,) = run(config, tmp_path / "trial", cache, monkeypatch)
    assert report["problem"].startswith("the generator has collapsed: its samples are 0.00% as far apart as real images")
