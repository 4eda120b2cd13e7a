"""Checkpoints of rosinality's stylegan2-pytorch: the imported networks do what that code does."""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.harm import flips
from tests.trainables.source import stylegan2_pytorch as reference
from tests.trainables.source.test_stylegan_pickle import close, discriminator_of
from trainables.source import generator_of, open_source


def content(**changes: Any) -> dict[str, Any]:
    """What such a file holds; ``changes`` of it, of which ... takes something out."""
    whole = {
        "g": reference.generator_state(1),
        "d": reference.discriminator_state(2),
        "g_ema": reference.generator_state(3),
        "latent_avg": torch.linspace(-1, 1, reference.STYLE),
    }
    return {key: value for key, value in (whole | changes).items() if value is not ...}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def saved(content: Any, archive: bool = True) -> Path:
        torch.save(content, tmp_path / "550000.pt", _use_new_zipfile_serialization=archive)
        return tmp_path / "550000.pt"

    return saved


@pytest.mark.parametrize("archive", [True, False])
def test_the_pictures_are_the_same(write: Callable[..., Path], archive: bool) -> None:
    whole = content()
    generator, z = generator_of(open_source(write(whole, archive))), torch.randn(4, reference.STYLE)
    close(generator(z), reference.pictures(whole["g_ema"], z))
    close(generator(z, truncation=0.6), reference.pictures(whole["g_ema"], z, 0.6, whole["latent_avg"]))


def test_the_logits_are_the_same(write: Callable[..., Path]) -> None:
    whole = content()
    images = torch.randn(8, 3, 32, 32)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    (found,) = discriminator_of(open_source(write(whole)))(images[order])
    close(found[:, :, 0, 0], reference.logits(whole["d"], images)[order])


def test_what_it_says_of_itself(write: Callable[..., Path]) -> None:
    file = write(content())
    source = open_source(file)
    widths = {"channel_base": 128, "channel_max": 8, "c_dim": 0, "clamp": None}
    assert source.generator == {
        "name": "stylegan2", "z_dim": 12, "w_dim": 12, "mapping_layers": 3, "architecture": "skip", **widths
    }  # fmt: skip
    assert source.discriminator == {"name": "stylegan2", "architecture": "resnet", "mbstd_group": 4, **widths}
    assert source.resolution == 32
    assert source.metadata["origin"] == {
        "name": "550000.pt",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": "checkpoint of stylegan2-pytorch (rosinality)",
        "weights": "g_ema",
    }
    assert "augment_p" not in source.metadata


def test_a_training_checkpoint_has_arguments_and_no_mean_style(write: Callable[..., Path]) -> None:
    args = argparse.Namespace(size=32, augment=True, r1=10.0, path="cats")
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99)}]}
    source = open_source(write(content(latent_avg=..., args=args, ada_aug_p=0.25, g_optim=optimizer)))
    assert source.metadata["augment_p"] == 0.25
    assert source.metadata["mean_style"] == "of 10000 latents, for the file has none"
    styles = reference.mapped(reference.generator_state(3), torch.randn(20_000, reference.STYLE))
    found = source.tensors["generator.mapping.w_avg"]
    assert ((found - styles.mean(dim=0)).abs() < 5 * styles.std(dim=0) / 10_000**0.5).all()


def test_without_an_averaged_generator_the_other_is_taken(write: Callable[..., Path]) -> None:
    whole = content(g_ema=..., d=...)
    file = write(whole)
    with pytest.raises(ValueError, match="is no checkpoint of a trial"):
        open_source(file)  # nothing says whose it is
    source = open_source(write(whole, archive=False))
    assert torch.equal(source.tensors["generator.synthesis.b4.const"], whole["g"]["input.input"][0])
    assert source.metadata["origin"]["weights"] == "g"
    assert source.discriminator is None


def test_the_discriminator_can_be_left_out(write: Callable[..., Path]) -> None:
    source = open_source(write(content(d={"colour": torch.ones(1)})), discriminator=False)
    assert source.discriminator is None
    assert all(name.startswith("generator.") for name in source.tensors)


MISFITS: list[tuple[str, Callable[[dict[str, Tensor]], Any], str]] = [
    ("g_ema", lambda x: x.pop("convs.3.activate.bias"), r"g_ema is not .*1 not in the file \(synthesis.b16.conv1.bias\)"),
    ("g_ema", lambda x: x.update({"style.4.bias": torch.ones(12)}), r"1 without a place \(style.4.bias\)"),
    ("g_ema", lambda x: x.pop("noises.noise_6"), r"1 not in the file \(synthesis.b32.conv1.noise_const\)"),
    ("g_ema", lambda x: x.pop("style.2.bias"), r"1 not in the file \(mapping.fc1.bias\)"),
    ("g_ema", lambda x: x.update({"convs.2.conv.weight": torch.ones(1, 8, 9, 3, 3)}), "1 of another shape .*b16.conv0.weight"),
    ("g_ema", lambda x: x["conv1.noise.weight"].fill_(float("inf")), "values that are not finite .*b4.conv1.noise_strength"),
    ("g_ema", lambda x: x["convs.0.conv.blur.kernel"].div_(4), "convs.0.conv.blur.kernel must be the filter"),
    ("g_ema", lambda x: x.update({"to_rgbs.0.upsample.kernel": torch.ones(2, 2)}), "upsample.kernel must be the filter"),
    ("g_ema", lambda x: x.update({"input.input": torch.ones(())}), "it has nothing for synthesis.b4.const"),
    ("g_ema", lambda x: [x.pop(name) for name in list(x)], "it has 0 layers to_rgbs"),
    ("g_ema", lambda x: x.update(colour=3), "g_ema is no state dict of tensors"),
    ("d", lambda x: x.pop("convs.2.skip.1.weight"), r"d is not .*1 not in the file \(b16.skip.weight\)"),
    ("d", lambda x: x["convs.2.skip.0.kernel"].mul_(4), "convs.2.skip.0.kernel must be the filter"),
    ("d", lambda x: x.update({"final_linear.2.weight": torch.ones(1, 1)}), r"1 without a place \(final_linear.2.weight\)"),
    ("d", lambda x: x.pop("final_conv.0.weight"), "it has nothing for b4.conv.weight"),
]


@pytest.mark.parametrize(("part", "changes", "message"), MISFITS)
def test_no_tensor_is_dropped_and_none_made_up(
    write: Callable[..., Path], part: str, changes: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    whole = content()
    changes(whole[part])
    with pytest.raises(ValueError, match=rf"source .*550000\.pt: .*{message}"):
        open_source(write(whole))


@pytest.mark.parametrize("average", [torch.ones(11), torch.full((12,), float("nan"))])
def test_an_odd_mean_style_is_refused(write: Callable[..., Path], average: Tensor) -> None:
    with pytest.raises(ValueError, match=r"550000\.pt: latent_avg .*mapping.w_avg"):
        open_source(write(content(latent_avg=average)))


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.canary)!r}, 'w').close()",)


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_it_is_not_run(write: Callable[..., Path], tmp_path: Path, archive: bool) -> None:
    file = write(content(args=Hostile(tmp_path / "canary")), archive)
    with pytest.raises(ValueError, match=r"550000\.pt: refused: it cannot be read without running code that is in it"):
        open_source(file)
    assert not (tmp_path / "canary").exists()


def test_an_archive_that_grows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({"g_ema": {}}, 2))
        archive.writestr("bomb/data/0", bytes(10**7))
    with pytest.raises(ValueError, match=r"bomb\.pt: refused: an archive that becomes larger when it is read"):
        open_source(file)


@pytest.mark.parametrize("archive", [True, False])
def test_a_damaged_file_is_refused(write: Callable[..., Path], archive: bool) -> None:
    file = write(content(), archive)
    whole = file.read_bytes()
    for place in (100, len(whole) // 2, len(whole) - 30):
        file.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=r"source .*550000\.pt"):
            open_source(file)
    if archive:  # the legacy format has no checksums
        damaged = bytearray(whole)
        damaged[whole.index(reference.generator_state(3)["style.1.weight"].numpy().tobytes())] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"source .*550000\.pt: the checksum"):
            open_source(file)


@pytest.mark.parametrize("archive", [True, False])
def test_no_damage_does_more_than_to_change_numbers(write: Callable[..., Path], archive: bool) -> None:
    file = write(content(), archive)
    for _, damaged in flips(file.read_bytes(), 100):
        file.write_bytes(damaged)
        try:
            open_source(file)
        except ValueError as error:
            assert str(error).startswith(f"source {file}")  # noqa: PT017 - either of two ends is right


def test_a_tensor_that_claims_more_than_its_storage(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content(), buffer)
    file = tmp_path / "550000.pt"
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):
                # The mean style's size, 12, becomes 255 ** 4 or so.
                assert data.count(b"K\x0c\x85") >= 1
                data = data.replace(b"K\x0c\x85", b"J\xff\xff\xff\x7f\x85")
            new.writestr(info.filename, data)
    with pytest.raises(ValueError, match=r"550000\.pt: "):
        open_source(file)


def test_a_tensor_larger_than_the_file_is_refused_at_once(tmp_path: Path) -> None:
    """A view that repeats one number takes no room in the file, and would take 32 TB here."""
    state = reference.generator_state(3) | {"noises.noise_0": torch.zeros(1).expand(1, 1, 2**25, 2**18)}
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"refused: its tensors are .* bytes, more than the file holds"):
        open_source(tmp_path / "network.pt")


def test_two_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    state = reference.generator_state(3)
    torch.save({"g_ema": state | {"mapping.fc0.weight": state["style.1.weight"]}}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match=r"has the place of another tensor, mapping\.fc0\.weight"):
        open_source(tmp_path / "network.pt")
