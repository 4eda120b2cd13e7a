"""Source checkpoints: what fits is copied, what does not is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.trainables.small import small_config
from trainables.data import ImageDataset
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.source import LoadReport, load_source, read_source, save_source


def trainer(dataset: ImageDataset, **changes: Any) -> GanTrainer:
    return GanTrainer(small_config(feature_loss={"layers": ()}, **changes), dataset)


@pytest.fixture(scope="module")
def source(dataset: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("source") / "source.safetensors"
    made = trainer(dataset, seed=77)
    save_source(file, made.generator, {"efficientnet_lite0": made.discriminator}, {"kimg": 3})
    return file


def test_generator_and_heads_come_from_the_source_to_half_precision(dataset: ImageDataset, source: Path) -> None:
    made, scratch, tuned = trainer(dataset, seed=77), trainer(dataset), trainer(dataset, source=str(source))
    assert tuned.source_report is not None
    assert tuned.source_report.missing == tuned.source_report.mismatched == ()
    assert scratch.source_report is None
    for part in ("generator", "discriminator"):
        theirs, own = getattr(made, part).state_dict(), getattr(tuned, part).state_dict()
        for key, value in own.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-6, msg=key)
    for key, value in tuned.ema.state_dict().items():
        assert torch.equal(value, tuned.generator.state_dict()[key])
    assert not torch.allclose(scratch.generator.to_image.weight, tuned.generator.to_image.weight)  # type: ignore[union-attr, arg-type]


def test_the_file_holds_float16_without_the_trunk(source: Path) -> None:
    with safe_open(source, framework="pt") as file:
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}
        assert file.metadata() == {"gansweep": '{"kimg": 3}'}
    assert all(name.startswith(("generator.", "discriminator.efficientnet_lite0.heads.")) for name in names)
    assert not any(".backbone." in name for name in names)
    assert {tensor.dtype for tensor in read_source(source).values()} == {torch.float32}


def test_another_backbone_gets_the_generator_and_a_report_of_its_heads(dataset: ImageDataset, source: Path) -> None:
    report = trainer(dataset, source=str(source), backbone="efficientnet_lite1").source_report
    assert report is not None
    assert all(name.startswith("generator.") for name in report.copied)
    assert report.missing
    assert all(name.startswith("discriminator.efficientnet_lite1.heads.") for name in report.missing)
    assert str(report) == f"{len(report.copied)} tensors copied, {len(report.missing)} not in the source, 0 of another shape"


def test_heads_of_another_shape_keep_their_initial_values(dataset: ImageDataset, source: Path) -> None:
    discriminator = {"name": "trunk", "frozen_depth": 2, "scales": 2, "head_channels": 32}
    scratch = trainer(dataset, discriminator=discriminator)
    tuned = trainer(dataset, discriminator=discriminator, source=str(source))
    report = tuned.source_report
    assert report is not None
    assert report.mismatched
    own, theirs = tuned.discriminator.state_dict(), scratch.discriminator.state_dict()
    for name in report.mismatched:
        key = name.removeprefix("discriminator.efficientnet_lite0.")
        assert torch.equal(own[key], theirs[key])


def test_a_smaller_resolution_takes_the_layers_that_fit(source: Path) -> None:
    options = GENERATORS["compact"].Options(z_dim=16, channels=32, max_channels=32)
    wider = GENERATORS["compact"](options, Frame(32), pytest.fail)
    report = load_source(source, wider, torch.nn.Identity(), "efficientnet_lite0")
    assert isinstance(report, LoadReport)
    assert "generator.style.0.weight" in report.copied
    assert "generator.to_image.weight" in report.mismatched


def test_a_source_of_another_architecture_is_a_clear_error(tmp_path: Path, dataset: ImageDataset) -> None:
    file = tmp_path / "other.safetensors"
    save_source(file, torch.nn.Linear(3, 3), {}, {})
    with pytest.raises(ValueError, match=r"other\.safetensors holds no tensor that fits this generator \(resolution, channels"):
        trainer(dataset, source=str(file))


def test_a_missing_and_a_damaged_source_are_clear_errors(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ValueError, match=r"source checkpoint .*none\.safetensors does not exist"):
        read_source(tmp_path / "none.safetensors")
    for content in (b"", b"no safetensors at all", source.read_bytes()[:-100]):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"source checkpoint .*bad\.safetensors is not a safetensors file"):
            read_source(tmp_path / "bad.safetensors")
