"""`gansweep import`: from a downloaded file to a source checkpoint with pictures beside it, and `gansweep sample` of that."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.trainables.source import stylegan2_pytorch
from tests.trainables.source.hostile import pickles
from tests.trainables.source.official import BUFFERS, dumped, module, snapshot, tensors, truth
from tests.trainables.source.test_stylegan_pickle import changed, check_discriminator, check_generator
from tests.trainables.test_exported import CONFIG, generator
from tests.tuner.command import Command, in_a_fresh_process
from trainables.exported import sample, save_export
from trainables.source import generator_of, open_source
from trainables.storage import Storage

NAMES = ("stylegan2", "stylegan2_conditional", "stylegan3_t", "stylegan3_r")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return pickled(tmp_path, "stylegan2")


def pickled(folder: Path, name: str, **changes: Any) -> Path:
    (folder / f"{name}.pkl").write_bytes(dumped(snapshot(name, **changes)))
    return folder / f"{name}.pkl"


def grid_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def counted(network: str) -> int:
    """The parameters of the truth's StyleGAN2."""
    return sum(x.numel() for name, x in tensors("stylegan2", network).items() if name.rpartition(".")[2] not in BUFFERS)


@pytest.mark.parametrize("name", NAMES)
def test_an_official_pickle_becomes_a_source_with_the_official_pictures(command: Command, tmp_path: Path, name: str) -> None:
    out = tmp_path / "made" / "source.safetensors"
    said = command("import", str(pickled(tmp_path, name)), "--out", str(out))
    assert said.code == 0, said.err
    source = open_source(out)
    check_generator(source, name)
    check_discriminator(source, name)
    assert {tensor.dtype for tensor in source.tensors.values()} == {torch.float32}
    assert sorted(path.name for path in out.parent.iterdir()) == ["source.png", "source.safetensors"]
    assert grid_size(out.with_suffix(".png")) == (4 * 96 + 5 * 2,) * 2


def test_it_says_what_it_is(command: Command, file: Path, tmp_path: Path) -> None:
    pipe = module("AugmentPipe", {}, {})
    pipe.register_buffer("p", torch.tensor(0.5))
    pickled(tmp_path, "stylegan2", augment_pipe=pipe)
    out = tmp_path / "source.safetensors"
    said = command("import", str(file), "--out", str(out))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert said.out.splitlines()[:-3] == [
        f"generator: stylegan2, 32 px, {counted('G'):,} parameters",
        f"discriminator: stylegan2, {counted('D'):,} parameters",
        "probability of augmentation when its training ended: 0.500",
        f"origin: stylegan2.pkl, official StyleGAN2-ADA pickle, G_ema, sha256 {digest}",
        "licence: Imported weights keep their licence. NVIDIA's pretrained networks, and what is fine-tuned from them, are under "
        "NVIDIA's source code licence: for research and evaluation, not for commercial use. See what the file came with.",
    ]
    assert said.out.splitlines()[-3:] == [
        f"source: {out} (0.4 MB)",
        f"pictures: {out.with_suffix('.png')}",
        f"more: gansweep sample {out} --truncation 0.7 --n 16 --out grid.png",
    ]
    said = command("import", str(file), "--out", str(out), "--force", "--json")
    found, source = json.loads(said.out), open_source(out)
    assert (found["source"], found["pictures"], found["resolution"]) == (str(out), str(out.with_suffix(".png")), 32)
    assert (found["generator"], found["metadata"]) == (source.generator, source.metadata)
    assert found["discriminator"]["mbstd_group"] == 4
    assert source.discriminator is not None
    assert source.discriminator.items() <= found["discriminator"].items()
    assert found["parameters"] == {"generator": counted("G"), "discriminator": counted("D")}


def test_a_name_in_upper_case_is_the_same(command: Command, file: Path, tmp_path: Path) -> None:
    upper = file.rename(tmp_path / "NETWORK.PKL")
    out = tmp_path / "source.safetensors"
    assert command("import", str(upper), "--out", str(out)).code == 0
    check_generator(open_source(out.rename(tmp_path / "SOURCE.SAFETENSORS")), "stylegan2")
    for number, source in enumerate((upper, tmp_path / "SOURCE.SAFETENSORS")):
        assert command("sample", str(source), "--n", "1", "--out", str(tmp_path / f"{number}.png")).code == 0


def test_of_a_class_alone(command: Command, tmp_path: Path) -> None:
    file, out = pickled(tmp_path, "stylegan2_conditional"), tmp_path / "source.safetensors"
    said = command("import", str(file), "--out", str(out))
    assert "classes: 3; one alone, for pictures without labels: gansweep import FILE --label 0 --out OTHER" in said.out
    assert command("import", str(file), "--out", str(tmp_path / "one.safetensors"), "--label", "2").code == 0
    one, all_of_them = open_source(tmp_path / "one.safetensors"), open_source(out)
    assert one.metadata["label"] == 2
    expected = sample(generator_of(all_of_them), range(4), label=2)
    torch.testing.assert_close(sample(generator_of(one), range(4)), expected, rtol=1e-4, atol=1e-4)
    said = command("import", str(file), "--out", str(tmp_path / "none.safetensors"), "--label", "3")
    assert said.code == 2
    assert f"{file}: label must be one of its generator's 3 classes, 0 to 2, but got 3" in said.err
    assert not (tmp_path / "none.safetensors").exists()


def test_without_the_discriminator(command: Command, tmp_path: Path) -> None:
    other = pickled(tmp_path, "stylegan2", D=changed("stylegan2", "D", {"architecture": "orig"}))
    out = tmp_path / "source.safetensors"
    said = command("import", str(other), "--out", str(out))
    assert said.code == 2
    assert "D (leave it out by --no-discriminator) cannot be rebuilt: architecture must be 'resnet' or 'skip' here" in said.err
    assert not out.exists()
    assert "discriminator: none\n" in command("import", str(other), "--out", str(out), "--no-discriminator").out
    assert open_source(out).discriminator is None
    check_generator(open_source(out), "stylegan2")


def test_other_kinds_of_sources(command: Command, tmp_path: Path, file: Path) -> None:
    torch.save({"g_ema": stylegan2_pytorch.generator_state(3)}, tmp_path / "rosinality.pt")
    save_export(tmp_path / "best", generator().state_dict(), CONFIG)
    assert command("import", str(file), "--out", str(tmp_path / "first.safetensors")).code == 0
    for given in ("rosinality.pt", "best", "first.safetensors"):
        out = tmp_path / f"of-{given}.safetensors"
        said = command("import", str(tmp_path / given), "--out", str(out))
        assert said.code == 0, said.err
        assert out.with_suffix(".png").exists()
    first, again = (open_source(tmp_path / name) for name in ("first.safetensors", "of-first.safetensors.safetensors"))
    assert again.architecture == first.architecture
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())
    assert command("sample", str(tmp_path / "of-best.safetensors"), "--n", "1", "--out", str(tmp_path / "x.png")).code == 0


def test_a_generator_of_pictures_has_none_of_its_own(command: Command, tmp_path: Path) -> None:
    from tests.contracts.trials import trial
    from trainables.networks import build_generator, build_task
    from trainables.pictures import grid

    config = trial("denoising", "unet", "patch", ("paired", "euclidean"))
    made = build_generator(config.generator, build_task(config.task, config.resolution), config.backbone)
    save_export(tmp_path / "export", made.state_dict(), config.model_dump(mode="json"), samples=grid(torch.zeros(1, 3, 8, 8)))
    out = tmp_path / "source.safetensors"
    said = command("import", str(tmp_path / "export"), "--out", str(out))
    assert said.code == 0, said.err
    assert "pictures: " not in said.out
    assert not out.with_suffix(".png").exists()
    said = command("sample", str(out))
    assert (said.code, "this generator takes pictures, not noise: use `gansweep apply" in said.err) == (2, True)


class TestBadInput:
    def test_nothing_is_replaced_unless_asked(self, command: Command, file: Path, tmp_path: Path) -> None:
        out = tmp_path / "source.safetensors"
        for there in (out, out.with_suffix(".png")):
            there.write_text("mine")
            said = command("import", str(file), "--out", str(out))
            assert said.code == 2
            assert f"error: {there} would be replaced: choose another --out, or add --force" in said.err
            assert there.read_text() == "mine"
            there.unlink()
        out.write_text("mine")
        assert command("import", str(file), "--out", str(out), "--force").code == 0
        check_generator(open_source(out), "stylegan2")

    @pytest.mark.parametrize("out", ["source", "source.pt", "source.png"])
    def test_another_suffix(self, command: Command, file: Path, tmp_path: Path, out: str) -> None:
        said = command("import", str(file), "--out", str(tmp_path / out))
        assert said.code == 2
        assert f"--out must be a file whose name ends in .safetensors, but got {tmp_path / out}" in said.err

    @pytest.mark.parametrize("name", ["none.pkl", "none.pt", "none.safetensors", "none"])
    def test_a_missing_file(self, command: Command, tmp_path: Path, name: str) -> None:
        said = command("import", str(tmp_path / name), "--out", str(tmp_path / "out.safetensors"))
        assert said.code == 2
        assert f"error: source checkpoint {tmp_path / name} does not exist" in said.err
        assert list(tmp_path.glob("out*")) == []

    @pytest.mark.parametrize("attempt", ["os.system", "code in a storage", "a huge tensor", "text", "nothing"])
    def test_a_hostile_file(self, command: Command, tmp_path: Path, attempt: str) -> None:
        content, message = pickles(tmp_path / "canary")[attempt]
        (tmp_path / "cats.pkl").write_bytes(content)
        said = command("import", str(tmp_path / "cats.pkl"), "--out", str(tmp_path / "out.safetensors"))
        assert said.code == 2
        assert f"error: source {tmp_path / 'cats.pkl'}: " in said.err
        assert any(part in said.err for part in message.split("|")), said.err
        assert not (tmp_path / "canary").exists()
        assert list(tmp_path.glob("out*")) == []

    def test_a_file_of_another_kind(self, command: Command, tmp_path: Path) -> None:
        (tmp_path / "cats.zip").write_bytes(b"PK")
        said = command("import", str(tmp_path / "cats.zip"), "--out", str(tmp_path / "out.safetensors"))
        assert said.code == 2
        assert f"source {tmp_path / 'cats.zip'} must be the folder of an export, or a file whose name ends in one of " in said.err

    def test_a_source_that_does_not_say_what_it_is(self, command: Command, tmp_path: Path) -> None:
        Storage(tmp_path).save("best.pt", {"ema": {"w": torch.zeros(3)}, "report": {}, "format": 2})
        said = command("import", str(tmp_path / "best.pt"), "--out", str(tmp_path / "out.safetensors"))
        assert said.code == 2
        assert f"{tmp_path / 'best.pt'}: it does not say which generator it holds" in said.err

    def test_a_place_that_cannot_be_written(self, command: Command, file: Path, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("")
        said = command("import", str(file), "--out", str(tmp_path / "taken" / "out.safetensors"))
        assert said.code == 1
        assert "error: the storage refuses: " in said.err


class TestSample:
    @pytest.fixture
    def source(self, command: Command, tmp_path: Path) -> Path:
        out = tmp_path / "source.safetensors"
        assert command("import", str(pickled(tmp_path, "stylegan2_conditional")), "--out", str(out)).code == 0
        return out

    def test_a_grid(self, command: Command, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "grid.png"
        said = command("sample", str(source), "--truncation", "0.7", "--n", "16", "--out", str(out))
        assert (said.code, said.out) == (0, f"16 pictures: {out}\n")
        assert grid_size(out) == (4 * 96 + 5 * 2,) * 2

    def test_truncation_and_class_are_the_generator_s(self, command: Command, source: Path, tmp_path: Path) -> None:
        arguments = ("--n", "3", "--label", "1", "--truncation", "0.5", "--seed", "4", "--out", str(tmp_path / "each"))
        assert command("sample", str(source), *arguments).code == 0
        expected = sample(generator_of(open_source(source)), range(3), 4, truncation=0.5, label=1)
        for index, image in enumerate(expected):
            with Image.open(tmp_path / "each" / f"{index:06d}.png") as picture:
                levels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(32, 32, 3).permute(2, 0, 1)
            assert ((levels / 127.5 - 1) - image).abs().max() < 0.01
        others = sample(generator_of(open_source(source)), range(3), 4, truncation=0.5, label=2)
        assert (others - expected).abs().mean() > 0.01

    def test_classes_in_turn(self, source: Path) -> None:
        made = generator_of(open_source(source))
        pictures = sample(made, range(5))
        for label in range(3):
            torch.testing.assert_close(pictures[label::3], sample(made, range(5), label=label)[label::3])

    def test_more_than_a_batch(self, command: Command, source: Path, tmp_path: Path) -> None:
        assert command("sample", str(source), "--n", "70", "--out", str(tmp_path / "each")).code == 0
        assert len(list((tmp_path / "each").iterdir())) == 70

    def test_a_pickle_as_it_is(self, command: Command, tmp_path: Path) -> None:
        file = pickled(tmp_path, "stylegan2", D=changed("stylegan2", "D", {"architecture": "orig"}))
        assert command("sample", str(file), "--n", "1", "--out", str(tmp_path / "x.png")).code == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--label", "3"), "the label of this generator must be one of its 3 classes, 0 to 2, but got 3"),
            (("--label", "-1"), "the label of this generator must be one of its 3 classes, 0 to 2, but got -1"),
            (("--truncation", "nan"), "--truncation must be a finite number, but got nan"),
            (("--out", "x.jpg"), "--out must be a .png file"),
        ],
    )
    def test_bad_arguments(self, command: Command, source: Path, arguments: tuple[str, ...], message: str) -> None:
        said = command("sample", str(source), *arguments)
        assert (said.code, f"error: {message}" in said.err) == (2, True), said.err

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            (("--label", "0"), "the label of this generator must be left out: it has no classes, but got 0"),
            (("--truncation", "0.7"), "compact has no truncation: truncation must be 1, but got 0.7"),
        ],
    )
    def test_what_an_older_generator_has_not(
        self, command: Command, tmp_path: Path, argument: tuple[str, ...], message: str
    ) -> None:
        save_export(tmp_path / "best", generator().state_dict(), CONFIG)
        said = command("sample", str(tmp_path / "best"), *argument)
        assert (said.code, f"error: {message}" in said.err) == (2, True), said.err

    def test_a_missing_file(self, command: Command, tmp_path: Path) -> None:
        said = command("sample", str(tmp_path / "none.safetensors"))
        assert (said.code, f"source checkpoint {tmp_path / 'none.safetensors'} does not exist" in said.err) == (2, True)


def test_neither_needs_the_cluster_or_the_search(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "source.safetensors"
    assert in_a_fresh_process("import", file, "--out", out)[-1] == "[]"
    assert in_a_fresh_process("sample", out, "--n", 1, "--out", tmp_path / "grid.png")[-1] == "[]"
    assert truth("stylegan2")["kwargs"]["G"]["z_dim"] == open_source(out).generator["z_dim"]  # type: ignore[index]
