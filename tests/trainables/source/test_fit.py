"""Source checkpoints: what fits is copied, what does not is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from tests.trainables.small import small_config
from trainables.data import ImageDataset
from trainables.digest import tensors_digest
from trainables.gan import GanTrainer
from trainables.generators import GENERATORS, Frame
from trainables.generators.compact import CompactGenerator, CompactOptions
from trainables.source import LoadReport, load_source, partial_start, read_source, save_source


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


def test_the_averaged_generator_keeps_to_the_source_from_the_first_step_on(dataset: ImageDataset, source: Path) -> None:
    """Of the way that G goes in a step of 8 images, at a half-life of 1000, it goes 0.6 %; from scratch most of it."""
    for changes, share in (({"source": str(source)}, 1 - 0.5**0.008), ({}, 0.75)):
        made = trainer(dataset, **changes)
        before = [parameter.detach().clone() for parameter in made.generator.parameters()]
        made.step()
        ways = zip(before, made.generator.parameters(), made.ema.parameters(), strict=True)
        for start, end, average in ways:
            torch.testing.assert_close(average, torch.lerp(start, end.detach(), share), rtol=1e-5, atol=1e-7)


def test_the_file_holds_float16_without_the_trunk(source: Path) -> None:
    with safe_open(source, framework="pt") as file:
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}
        assert list(file.metadata()) == ["gansweep"]
        assert json.loads(file.metadata()["gansweep"]) == {
            "kimg": 3,
            "digest": tensors_digest({n: file.get_tensor(n) for n in names}),
        }
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
    report = load_source(source, wider, torch.nn.Identity(), "efficientnet_lite0", partial=True)
    assert isinstance(report, LoadReport)
    assert "generator.style.0.weight" in report.copied
    assert "generator.to_image.weight" in report.mismatched


DEMO = Path(__file__).parents[3] / "examples" / "twemoji" / "source_32px.safetensors"


def compact(channels: int, resolution: int) -> tuple[CompactOptions, Callable[[CompactOptions], CompactGenerator]]:
    return CompactOptions(channels=channels), lambda options: CompactGenerator(options, Frame(resolution), pytest.fail)


def start(channels: int, resolution: int) -> tuple[LoadReport, str | None]:
    """What the demo's source, of 32 px and 32 channels, gives such a generator, and the warning."""
    options, build = compact(channels, resolution)
    report = load_source(DEMO, build(options), torch.nn.Identity(), "efficientnet_lite0", partial=True)
    return report, partial_start(DEMO, report, options, build)


def test_a_source_that_gives_all_of_the_generator_is_no_reason_to_warn() -> None:
    report, warning = start(32, 32)
    assert report.generator_share == 1
    assert warning is None


def test_a_source_of_another_resolution_is_told_with_its_share_and_a_width_that_fits() -> None:
    report, warning = start(32, 64)
    assert (len(report.copied), len(report.mismatched), len(report.missing)) == (6, 21, 7)
    assert report.generator_share < 0.5
    assert warning is not None
    assert warning.startswith(
        f"G is hardly pretrained: the source {DEMO} gives 6 of the 34 tensors of G, {report.generator_share:.1%} of its values; "
        "the rest starts from random values (of another shape: blocks.0.modulation.weight, "
    )
    assert "and 18 more; not in the source: blocks.3.modulation.weight, " in warning
    better, milder = start(16, 64)
    assert warning.endswith(f"With generator.channels: 16 it would give {better.generator_share:.1%}")
    assert better.generator_share > 0.9
    assert milder is not None
    assert milder.startswith(f"the source {DEMO} gives 26 of the 34 tensors of G, ")
    assert "generator.channels" not in milder


def test_at_the_width_that_fits_the_stages_of_low_resolution_are_the_source_s() -> None:
    options, build = compact(16, 64)
    generator, source = build(options), read_source(DEMO)
    load_source(DEMO, generator, torch.nn.Identity(), "efficientnet_lite0", partial=True)
    for name, value in generator.state_dict().items():
        if name.startswith(("style", "stem", "blocks.0", "blocks.1", "blocks.2")):
            assert torch.equal(value, source[f"generator.{name}"]), name


def test_a_trainer_warns_of_a_generator_that_is_pretrained_in_part(dataset: ImageDataset, source: Path) -> None:
    wider = {"z_dim": 16, "channels": 16, "max_channels": 32}
    with pytest.warns(
        UserWarning, match=r"source\.safetensors gives \d+ of the \d+ tensors of G, .*generator.channels: 8 it"
    ) as told:
        tuned = trainer(dataset, source=str(source), source_fit="partial", generator=wider)
    assert tuned.source_report is not None
    assert f"{tuned.source_report.generator_share:.1%} of its values" in str(told[0].message)
    assert told[0].filename == __file__


def test_a_start_from_a_part_must_be_asked_for(dataset: ImageDataset, source: Path) -> None:
    wider = {"z_dim": 16, "channels": 16, "max_channels": 32}
    message = (
        r"source\.safetensors does not fit these networks \(of another shape: generator\.blocks\.\d .*\); "
        r"to start from what fits, set source_fit: partial"
    )
    with pytest.raises(ValueError, match=message):
        trainer(dataset, source=str(source), generator=wider)


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
