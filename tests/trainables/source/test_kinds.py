"""Training from an export, from a trial's checkpoint and from its best generator; what does not fit is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.trials import pictures, trainer_of, trial
from tests.trainables.small import differences
from trainables.checkpoint import TrialFiles
from trainables.config import TrialConfig
from trainables.data import ImageDataset
from trainables.exported import save_export
from trainables.gan import GanTrainer
from trainables.pictures import grid, png
from trainables.source import LoadReport, architecture_of, load_generator, open_source
from trainables.storage import Storage

Pair = tuple[ImageDataset, ImageDataset]
KINDS = ("checkpoint", "best", "export")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pictures(tmp_path_factory.mktemp("packed"))


def config(discriminator: str = "ensemble", **changes: Any) -> TrialConfig:
    return trial("denoising", "unet", discriminator, ("paired", "euclidean"), **changes)


@pytest.fixture(scope="module")
def trained(images: Pair) -> GanTrainer:
    trainer = trainer_of(config(seed=8), images)
    for _ in range(2):
        trainer.step()
    return trainer


@pytest.fixture(scope="module")
def sources(trained: GanTrainer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The trial's files: a full checkpoint, its best averaged generator, and that as an export."""
    folder = tmp_path_factory.mktemp("trial")
    picture = grid(torch.zeros(1, 3, 8, 8))
    told = trained.config.model_dump(mode="json")
    TrialFiles(Storage(folder)).save(trained.state_dict(), {"step": 2}, png(picture), is_best=True, config=told)
    save_export(folder / "export", trained.ema.state_dict(), told, samples=picture)
    return {"checkpoint": folder / "checkpoint_00000002.pt", "best": folder / "best.pt", "export": folder / "export"}


def report_of(trainer: GanTrainer) -> LoadReport:
    assert trainer.source_report is not None
    return trainer.source_report


def state(trainer: GanTrainer) -> dict[str, Tensor]:
    return trainer.generator.state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_the_averaged_generator_is_where_training_starts(
    images: Pair, trained: GanTrainer, sources: dict[str, Path], kind: str
) -> None:
    tuned = trainer_of(config(source=str(sources[kind])), images)
    assert differences(state(tuned), trained.ema.state_dict()) == []
    assert differences(tuned.ema.state_dict(), state(tuned)) == []
    report = report_of(tuned)
    assert report.mismatched == ()
    assert {f"generator.{name}" for name in state(tuned)} <= set(report.copied)
    tuned.step()
    assert differences(state(tuned), trained.ema.state_dict()) != []


def test_a_checkpoint_brings_its_discriminator_with_what_was_tuned_of_its_trunk(
    images: Pair, trained: GanTrainer, sources: dict[str, Path]
) -> None:
    tuned = trainer_of(config(source=str(sources["checkpoint"])), images)
    given, own = trained.state_dict()["discriminator"], tuned.discriminator.state_dict()
    assert differences({name: own[name] for name in given}, given) == []
    report = report_of(tuned)
    assert report.missing == (), "a frozen trunk need not be in a source"
    assert any(".backbone." in name for name in report.copied)


@pytest.mark.parametrize("kind", ["best", "export"])
def test_without_a_discriminator_all_of_its_own_tensors_are_reported_missing(
    images: Pair, sources: dict[str, Path], kind: str
) -> None:
    scratch, tuned = (trainer_of(config(source=source), images) for source in (None, str(sources[kind])))
    assert differences(tuned.discriminator.state_dict(), scratch.discriminator.state_dict()) == []
    report = report_of(tuned)
    assert report.missing
    assert all(name.startswith("discriminator.timm/test_resnet.") for name in report.missing)
    assert not any(".backbone." in name for name in report.missing)


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_of_another_width_is_copied_and_the_rest_reported(
    images: Pair, trained: GanTrainer, sources: dict[str, Path], kind: str
) -> None:
    wider = config("patch").generator.model_copy(update={"channels": 12})
    scratch = trainer_of(config("patch").model_copy(update={"generator": wider}), images)
    with pytest.warns(UserWarning, match=r"gives \d+ of the \d+ tensors of G, .*of another shape: "):
        tuned = trainer_of(
            config("patch", source=str(sources[kind]), source_fit="partial").model_copy(update={"generator": wider}), images
        )
    report = report_of(tuned)
    assert report.mismatched
    given = trained.ema.state_dict()
    for name, value in state(tuned).items():
        fits = given[name].shape == value.shape
        assert torch.equal(value, given[name] if fits else state(scratch)[name]), name
        assert (f"generator.{name}" in report.copied) == fits
        assert (f"generator.{name}" in report.mismatched) != fits
    assert str(report).endswith(f"{len(report.mismatched)} of another shape")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_says_what_it_is_of(trained: GanTrainer, sources: dict[str, Path], kind: str) -> None:
    expected = trained.config.model_dump(mode="json")
    found = architecture_of(sources[kind])
    assert (found.generator, found.resolution) == (expected["generator"], expected["resolution"])
    assert found.discriminator == (expected["discriminator"] if kind == "checkpoint" else None)
    assert (found.metadata["task"], found.metadata["backbone"]) == (expected["task"], expected["backbone"])
    assert found == open_source(sources[kind]).architecture


@pytest.mark.parametrize("kind", KINDS)
def test_its_generator_can_be_had(trained: GanTrainer, sources: dict[str, Path], kind: str) -> None:
    generator = load_generator(sources[kind])
    assert differences(generator.state_dict(), trained.ema.state_dict()) == []
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_the_probability_of_augmentation_is_that_at_the_end(
    trained: GanTrainer, sources: dict[str, Path], tmp_path: Path
) -> None:
    """Not the option of that name in the trial's configuration."""
    assert all("augment_p" not in architecture_of(source).metadata for source in sources.values())
    state = trained.state_dict() | {"adaptive": {"p": torch.tensor(0.375)}}
    told = trained.config.model_dump(mode="json") | {"augment_p": 1.0}
    TrialFiles(Storage(tmp_path)).save(state, {"step": 2}, png(grid(torch.zeros(1, 3, 8, 8))), is_best=False, config=told)
    assert architecture_of(tmp_path / "checkpoint_00000002.pt").metadata["augment_p"] == 0.375


def test_a_checkpoint_of_tensors_larger_than_itself_is_refused(tmp_path: Path) -> None:
    torch.save({"ema": {"w": torch.zeros(1).expand(2**45)}}, tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"refused: its tensors are .* bytes, more than the file holds: w"):
        open_source(tmp_path / "best.pt")
