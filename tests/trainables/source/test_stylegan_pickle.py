"""Official pickles are imported whole: the networks in them give the pictures and logits of the official code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from pickletools import genops
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.source.official import dumped, flat, module, snapshot, tensors, truth
from trainables.discriminators import DISCRIMINATORS
from trainables.source import Source, architecture_of, generator_of, load_source, open_source

NAMES = ("stylegan2", "stylegan2_conditional", "stylegan3_t", "stylegan3_r")


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Source]:
    """Writes content as an official pickle and reads it."""

    def write_and_open(content: Any, protocol: int = 4) -> Source:
        (tmp_path / "network.pkl").write_bytes(dumped(content, protocol))
        return open_source(tmp_path / "network.pkl")

    return write_and_open


def discriminator_of(source: Source) -> nn.Module:
    assert source.discriminator is not None
    kind = DISCRIMINATORS[source.discriminator["name"]]
    made = kind(kind.Options(**source.discriminator), pytest.fail, 0, source.resolution)
    made.load_state_dict(source.part(f"discriminator.{source.discriminator['name']}."))
    return made


def check_generator(source: Source, name: str) -> None:
    generator, expected = generator_of(source), {key: torch.as_tensor(x) for key, x in truth(name).items() if key != "kwargs"}
    labels = expected["c"] if expected["c"].shape[1] else None
    for key, psi in (("images", 1.0), ("images_truncated_0.5", 0.5)):
        close(generator(expected["z"], labels, truncation=psi), expected[key])


def check_discriminator(source: Source, name: str) -> None:
    expected = truth(name)
    # Groups of the minibatch standard deviation are consecutive here, and two apart in the truth.
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    images, labels = torch.as_tensor(expected["images"]).clamp(-1, 1)[order], torch.as_tensor(expected["c"])[order]
    (logits,) = discriminator_of(source)(images, None, labels if labels.shape[1] else None)
    close(logits[:, :, 0, 0], torch.as_tensor(expected["logits_of_clamped_images"])[order])


def close(found: Tensor, expected: Tensor, within: float = 1e-4) -> None:
    assert (found - expected).norm() <= within * expected.norm()


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_are_the_official_ones(imported: Callable[..., Source], name: str) -> None:
    source = imported(snapshot(name))
    check_generator(source, name)
    check_discriminator(source, name)
    assert {tensor.dtype for tensor in source.tensors.values()} == {torch.float32}
    assert not any("resample_filter" in key for key in source.tensors)


@pytest.mark.parametrize("name", NAMES)
def test_a_trial_s_networks_start_from_all_of_it(imported: Callable[..., Source], tmp_path: Path, name: str) -> None:
    source = imported(snapshot(name))
    generator, discriminator = generator_of(source), discriminator_of(source)
    with torch.no_grad():
        for tensor in [*generator.parameters(), *discriminator.parameters()]:
            tensor.zero_()
    report = load_source(tmp_path / "network.pkl", generator, discriminator, "efficientnet_lite0")
    assert (report.missing, report.mismatched, report.generator_share) == ((), (), 1.0)
    assert sorted(report.copied) == sorted(source.tensors)
    for prefix, network in (("generator.", generator), ("discriminator.stylegan2.", discriminator)):
        assert all(torch.equal(tensor, source.tensors[prefix + key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_whatever_python_wrote_it(imported: Callable[..., Source], protocol: int) -> None:
    kwargs = truth("stylegan2")["kwargs"]
    check_generator(imported(module("Generator", kwargs["G"], tensors("stylegan2", "G"), conv_clamp=...), protocol), "stylegan2")


def test_the_flat_form_of_arguments(imported: Callable[..., Source]) -> None:
    kwargs = truth("stylegan2")["kwargs"]
    generator = module("Generator", flat(kwargs["G"]), tensors("stylegan2", "G"))
    check_generator(imported(snapshot("stylegan2", G=None, G_ema=generator)), "stylegan2")


@pytest.mark.parametrize("name", NAMES)
def test_frozen_layers_are_buffers(imported: Callable[..., Source], name: str) -> None:
    kwargs = truth(name)["kwargs"]
    source = imported(
        snapshot(
            name,
            G=None,
            G_ema=module("Generator", kwargs["G"], tensors(name, "G"), frozen=lambda key: "affine" in key or "fc1" in key),
            D=module("Discriminator", kwargs["D"], tensors(name, "D"), frozen=lambda key: key.startswith(("b32", "b16"))),
        )
    )
    check_generator(source, name)
    check_discriminator(source, name)


def test_the_averaged_generator_is_taken(imported: Callable[..., Source]) -> None:
    kwargs = truth("stylegan2")["kwargs"]
    other = {key: value if "resample" in key else value + 1 for key, value in tensors("stylegan2", "G").items()}
    last = module("Generator", kwargs["G"], other)
    source = imported(snapshot("stylegan2", G=last))
    check_generator(source, "stylegan2")
    assert source.metadata["origin"]["weights"] == "G_ema"
    source = imported(snapshot("stylegan2", G=last, G_ema=None))
    assert torch.equal(source.tensors["generator.mapping.w_avg"], other["mapping.w_avg"])
    assert source.metadata["origin"]["weights"] == "G"


def test_a_generator_alone(imported: Callable[..., Source]) -> None:
    kwargs = truth("stylegan2")["kwargs"]
    source = imported(module("Generator", kwargs["G"], tensors("stylegan2", "G")))
    check_generator(source, "stylegan2")
    assert source.discriminator is None
    assert all(key.startswith("generator.") for key in source.tensors)


def test_what_it_says_of_itself(imported: Callable[..., Source], tmp_path: Path) -> None:
    pipe = module("AugmentPipe", {"xflip": 1}, {})
    pipe.register_buffer("p", torch.tensor(0.625))
    source = imported(snapshot("stylegan2_conditional", augment_pipe=pipe))
    network = {"channel_base": 512, "channel_max": 24, "c_dim": 3, "clamp": 256}
    assert source.generator == {
        "name": "stylegan2", "z_dim": 32, "w_dim": 32, "mapping_layers": 2, "architecture": "skip", **network
    }  # fmt: skip
    assert source.discriminator == {
        "name": "stylegan2", "mapping_layers": 8, "architecture": "resnet", "mbstd_group": 4, **network
    }  # fmt: skip
    assert source.resolution == 32
    assert source.metadata["augment_p"] == 0.625
    assert source.metadata["origin"] == {
        "name": "network.pkl",
        "sha256": hashlib.sha256((tmp_path / "network.pkl").read_bytes()).hexdigest(),
        "format": "official StyleGAN2-ADA pickle",
        "weights": "G_ema",
    }
    assert "not for commercial use" in source.metadata["licence"]
    assert architecture_of(tmp_path / "network.pkl") == source.architecture
    assert "augment_p" not in imported(snapshot("stylegan2")).metadata


def test_a_file_is_read_again_for_what_it_is_when_it_has_changed(imported: Callable[..., Source], tmp_path: Path) -> None:
    imported(snapshot("stylegan2"))
    first = architecture_of(tmp_path / "network.pkl")
    first.metadata.clear()
    assert architecture_of(tmp_path / "network.pkl").metadata, "what one caller does with it is no other's affair"
    imported(snapshot("stylegan2_conditional"))
    second = architecture_of(tmp_path / "network.pkl").generator
    assert second is not None
    assert second["c_dim"] == 3


def test_stylegan3_is_told_by_its_layers(imported: Callable[..., Source]) -> None:
    source = imported(snapshot("stylegan3_r"))
    assert source.generator is not None
    assert (source.generator["name"], source.generator["conv_kernel"], source.generator["use_radial_filters"]) == (
        "stylegan3", 1, True
    )  # fmt: skip
    assert source.metadata["origin"]["format"] == "official StyleGAN3 pickle"


@pytest.mark.parametrize(
    ("nested", "given", "layers", "clamp"),
    [
        (True, {}, ..., None),  # the default of StyleGAN2-ADA's constructors
        (False, {}, ..., 256),  # and of StyleGAN3's
        (True, {}, 128, 128),
        (False, {}, None, None),
        (True, {"conv_clamp": 64}, ..., 64),
        (False, {"conv_clamp": None}, ..., None),
    ],
)
def test_the_clamp_is_what_the_layers_have(
    imported: Callable[..., Source], nested: bool, given: dict[str, Any], layers: Any, clamp: Any
) -> None:
    kwargs = truth("stylegan2")["kwargs"]["G"]
    del kwargs["synthesis_kwargs"]["conv_clamp"]
    kwargs["synthesis_kwargs"] |= given
    made = module("Generator", kwargs if nested else flat(kwargs), tensors("stylegan2", "G"), conv_clamp=layers)
    kwargs = truth("stylegan2")["kwargs"]["D"]
    del kwargs["conv_clamp"]
    theirs = module("Discriminator", kwargs | given, tensors("stylegan2", "D"), conv_clamp=layers)
    source = imported(snapshot("stylegan2", G=None, G_ema=made, D=theirs))
    assert source.generator is not None
    assert source.discriminator is not None
    assert (source.generator["clamp"], source.discriminator["clamp"]) == (clamp, clamp)


HARMLESS = {
    "G": {
        "mapping_kwargs.w_avg_beta": 0.998,
        "mapping_kwargs.layer_features": 32,
        "mapping_kwargs.embed_features": None,
        "mapping_kwargs.lr_multiplier": 0.01,
        "synthesis_kwargs.use_noise": True,
        "synthesis_kwargs.fused_modconv_default": "inference_only",
        "synthesis_kwargs.fp16_channels_last": True,
        "synthesis_kwargs.resample_filter": [1, 3, 3, 1],
        "synthesis_kwargs.activation": "lrelu",
    },
    # What the official converter of TensorFlow's pickles writes for a discriminator without classes.
    "D": {
        "mapping_kwargs.num_layers": 0,
        "mapping_kwargs.lr_multiplier": 0.1,
        "cmap_dim": None,
        "block_kwargs.freeze_layers": 10,
        "block_kwargs.activation": "lrelu",
        "epilogue_kwargs.mbstd_group_size": None,
        "epilogue_kwargs.mbstd_num_channels": 1,
    },
}
REFUSED = [
    ("G", "synthesis_kwargs.activation", "relu", "activation must be 'lrelu' here, but is 'relu'"),
    ("G", "synthesis_kwargs.use_noise", False, "use_noise must be True here, but is False"),
    ("G", "synthesis_kwargs.resample_filter", [1, 2, 1], r"resample_filter must be \[1, 3, 3, 1\] here, but is \[1, 2, 1\]"),
    ("G", "synthesis_kwargs.architecture", "orig", "architecture must be 'skip' or 'resnet' here, but is 'orig'"),
    ("G", "synthesis_kwargs.kernel_size", 5, "kernel_size must be 3 here, but is 5"),
    ("G", "synthesis_kwargs.colour", "blue", "'colour' is no argument that is known here"),
    ("G", "synthesis_kwargs.channel_base", 2**40, "channel_base must be a whole number from 1 to 131072 here"),
    ("G", "synthesis_kwargs.channel_base", True, "channel_base must be a whole number"),
    ("G", "synthesis_kwargs.conv_clamp", float("nan"), "conv_clamp must be a number here, but is nan"),
    ("G", "mapping_kwargs.layer_features", 64, "mapping_kwargs.layer_features must be None or 32 here, but is 64"),
    ("G", "mapping_kwargs.embed_features", 64, "mapping_kwargs.embed_features must be None or 32 here, but is 64"),
    ("G", "mapping_kwargs.lr_multiplier", 0.1, "mapping_kwargs.lr_multiplier must be 0.01 here, but is 0.1"),
    ("G", "mapping_kwargs.num_layers", 10**9, "mapping_kwargs.num_layers must be a whole number from 0 to 64 here"),
    ("G", "mapping_kwargs", [1], "mapping_kwargs must be arguments here"),
    ("G", "img_channels", 1, "img_channels must be 3 here, but is 1"),
    ("G", "img_resolution", 2**30, "img_resolution must be a whole number from 1 to 4096 here"),
    ("G", "img_resolution", 48, "the resolution of stylegan2 must be a power of two"),
    ("G", "z_dim", None, "z_dim must be a whole number"),
    ("D", "architecture", "orig", "architecture must be 'resnet' or 'skip' here, but is 'orig'"),
    ("D", "img_resolution", 64, "img_resolution must be 32 here, but is 64"),
    ("D", "block_kwargs.resample_filter", [1], r"block_kwargs.resample_filter must be \[1, 3, 3, 1\] here, but is \[1\]"),
    ("D", "epilogue_kwargs.mbstd_num_channels", 2, "epilogue_kwargs.mbstd_num_channels must be 1 or 0 here, but is 2"),
    ("D", "epilogue_kwargs.colour", 2, "epilogue_kwargs.'colour' is no argument that is known here"),
    ("D", "cmap_dim_", 512, "'cmap_dim_' is no argument that is known here"),
]


def changed(name: str, network: str, changes: dict[str, Any]) -> nn.Module:
    """G or D of a truth file, with changes of its arguments."""
    kwargs = truth(name)["kwargs"][network]
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        target = kwargs
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = value
    return module({"G": "Generator", "D": "Discriminator"}[network], kwargs, tensors(name, network))


def test_arguments_without_effect_are_left_out(imported: Callable[..., Source]) -> None:
    parts = {network: changed("stylegan2", network, changes) for network, changes in HARMLESS.items()}
    source = imported(snapshot("stylegan2", G=None, G_ema=parts["G"], D=parts["D"]))
    check_generator(source, "stylegan2")
    check_discriminator(source, "stylegan2")


@pytest.mark.parametrize(("network", "argument", "value", "message"), REFUSED)
def test_arguments_that_change_what_is_computed_are_refused(
    imported: Callable[..., Source], network: str, argument: str, value: Any, message: str
) -> None:
    part = changed("stylegan2", network, {argument: value})
    with pytest.raises(ValueError, match=rf"source .*network\.pkl: (.|\n)*{message}"):
        imported(snapshot("stylegan2", G=None, **{"G_ema" if network == "G" else "D": part}))


def test_all_that_is_wrong_with_arguments_is_told_at_once(imported: Callable[..., Source]) -> None:
    part = changed(
        "stylegan2", "G", {"synthesis_kwargs.use_noise": False, "synthesis_kwargs.activation": "swish", "img_channels": 1}
    )
    with pytest.raises(ValueError, match=r"G_ema cannot be rebuilt: img_channels .*; activation .*; use_noise "):
        imported(snapshot("stylegan2", G_ema=part))


def with_tensors(network: str, changes: Callable[[dict[str, Tensor]], None]) -> nn.Module:
    values = tensors("stylegan2", network)
    changes(values)
    kwargs = truth("stylegan2")["kwargs"][network]
    return module({"G": "Generator", "D": "Discriminator"}[network], kwargs, values)


def renamed(values: dict[str, Tensor]) -> None:
    values["synthesis.b8.torgb.offset"] = values.pop("synthesis.b8.torgb.bias")


MISFITS: list[tuple[str, Callable[[dict[str, Tensor]], Any], str]] = [
    ("G", lambda x: x.pop("synthesis.b8.conv1.bias"), r"1 not in the file \(synthesis.b8.conv1.bias\)$"),
    ("G", renamed, r"1 not in the file \(.*torgb.bias\); 1 without a place \(synthesis.b8.torgb.offset\)"),
    ("G", lambda x: x.update({"mapping.fc8.weight": torch.zeros(32, 32)}), r"1 without a place \(mapping.fc8.weight\)"),
    ("G", lambda x: x.update({"mapping.w_avg": torch.zeros(31)}), r"1 of another shape \(mapping.w_avg\)"),
    ("G", lambda x: x["mapping.w_avg"].fill_(float("nan")), "values that are not finite .*mapping.w_avg"),
    ("G", lambda x: x.update({"mapping.w_avg": torch.zeros(32, dtype=torch.int64)}), "mapping.w_avg is no tensor of fractions"),
    ("G", lambda x: x["synthesis.b8.conv0.resample_filter"].mul_(2), "b8.conv0.resample_filter must be the filter"),
    ("G", lambda x: x.update({"synthesis.b8.resample_filter": torch.ones(1, 1)}), "b8.resample_filter must be the filter"),
    ("D", lambda x: x.pop("b32.skip.weight"), r"D is not the network .*1 not in the file \(b32.skip.weight\)"),
    ("D", lambda x: [x.pop(key) for key in list(x)], r"D is not .* of 23 tensors: 23 not in the file \(.* and 19 more\)"),
]


@pytest.mark.parametrize(("network", "changes", "message"), MISFITS)
def test_no_tensor_is_dropped_and_none_made_up(
    imported: Callable[..., Source], network: str, changes: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    part = with_tensors(network, changes)
    with pytest.raises(ValueError, match=message):
        imported(snapshot("stylegan2", G=None, **{"G_ema" if network == "G" else "D": part}))


def test_eight_mapping_layers_are_not_taken_for_two(imported: Callable[..., Source]) -> None:
    """The trap of the official resume."""
    part = changed("stylegan2", "G", {"mapping_kwargs.num_layers": 2})
    with pytest.raises(ValueError, match=r"12 without a place \(mapping.fc2.bias, mapping.fc2.weight, .* and 8 more\)"):
        imported(snapshot("stylegan2", G=None, G_ema=part))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "it holds no generator, neither G_ema nor G"),
        ([1, 2], "it holds no networks but a list"),
        ({"G": 3, "G_ema": None}, "it holds no generator"),
        ({"G_ema": module("Generator", {}, {})}, "z_dim must be a whole number"),
        (module("Discriminator", {}, {}), "its generator must be of class Generator, but is of 'Discriminator'"),
    ],
)
def test_other_content(imported: Callable[..., Source], content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imported(content)


@pytest.mark.parametrize("p", [torch.tensor(-1.0), torch.zeros(2), torch.tensor(float("nan")), torch.tensor(3)])
def test_an_odd_augmentation(imported: Callable[..., Source], p: Tensor) -> None:
    pipe = module("AugmentPipe", {}, {})
    pipe.register_buffer("p", p)
    with pytest.raises(ValueError, match="its augment_pipe has no probability p of at least 0"):
        imported(snapshot("stylegan2", augment_pipe=pipe))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dnnlib.tflib.network Network", "of the TensorFlow era: convert it by legacy.py of NVIDIA's stylegan3 repository"),
        ("training.networks Generator", "pickled as references to code of their own, as R3GAN's are"),
        ("R3GAN.Networks Generator", "R3GAN's"),
    ],
)
def test_pickles_of_others_are_told_apart(tmp_path: Path, name: str, message: str) -> None:
    content = b"\x80\x03c" + name.replace(" ", "\n").encode() + b"\n)\x81}b."
    (tmp_path / "other.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=rf"source .*other\.pkl: .*{message}.*asks for {name.replace(' ', '.')}"):
        open_source(tmp_path / "other.pkl")


def test_half_precision_and_any_order_of_memory_are_read(imported: Callable[..., Source]) -> None:
    values = {
        key: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value.half().float()
        for key, value in tensors("stylegan2", "G").items()
    }
    made = module("Generator", truth("stylegan2")["kwargs"]["G"], values)
    for tensor in made.parameters():
        tensor.data = tensor.data if tensor.ndim == 4 else tensor.data.half()
    source = imported(made)
    for key, value in values.items():
        if "resample" not in key:
            assert torch.equal(source.tensors[f"generator.{key}"], value), key
            assert source.tensors[f"generator.{key}"].is_contiguous()


def test_the_stand_in_s_pickles_name_what_real_ones_do() -> None:
    content = dumped(snapshot("stylegan3_t"), protocol=3)
    names = {argument.replace("_core", "core") for opcode, argument, _ in genops(content) if opcode.name == "GLOBAL"}
    assert names == {
        "builtins set",
        "collections OrderedDict",
        "dnnlib.util EasyDict",
        "numpy dtype",
        "numpy ndarray",
        "numpy.core.multiarray _reconstruct",
        "numpy.core.multiarray scalar",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_tensor_v2",
        "torch.storage _load_from_bytes",
        "torch_utils.persistence _reconstruct_persistent_obj",
    }
