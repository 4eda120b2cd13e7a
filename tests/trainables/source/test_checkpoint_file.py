"""Source checkpoints say what they are of, and give their networks back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.trainables.small import differences
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS, Frame
from trainables.source import architecture_of, load_generator, load_source, open_source, save_source, write_source

SMALL = {"name": "stylegan2", "channel_base": 64, "channel_max": 4}
G = GENERATORS["stylegan2"].Options(**SMALL, z_dim=6, w_dim=6, mapping_layers=2)
D = DISCRIMINATORS["stylegan2"].Options(**SMALL)
SAID: dict[str, Any] = {
    # Not what of them is trained, which is the next trial's to choose.
    "generator": G.model_dump(mode="json", exclude=set(G.TRAINING)),
    "discriminator": D.model_dump(mode="json", exclude=set(D.TRAINING)),
    "resolution": 16,
    "augment_p": 0.25,
}


def networks(seed: int) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GENERATORS["stylegan2"](G, Frame(16), pytest.fail), DISCRIMINATORS["stylegan2"](D, pytest.fail, 0, 16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    generator, discriminator = networks(1)
    save_source(tmp_path / "source.safetensors", generator, {"stylegan2": discriminator}, SAID, torch.float32)
    return tmp_path / "source.safetensors"


def test_it_says_what_it_is_of(file: Path) -> None:
    for found in architecture_of(file), open_source(file):
        assert (found.generator, found.discriminator) == (SAID["generator"], SAID["discriminator"])
        assert (found.resolution, found.metadata) == (16, {"augment_p": 0.25})


def test_what_it_is_of_needs_no_tensors(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    assert architecture_of(file).resolution == 16
    with pytest.raises(ValueError, match="is damaged: its digest is not that of its tensors"):
        open_source(file)


def test_a_source_that_is_written_again_is_the_same(file: Path, tmp_path: Path) -> None:
    source = open_source(file)
    write_source(tmp_path / "again.safetensors", source)
    again = open_source(tmp_path / "again.safetensors")
    assert differences(vars(again), vars(source)) == []
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_its_generator_can_be_had_bit_for_bit(file: Path) -> None:
    expected, _ = networks(1)
    generator = load_generator(file)
    z = torch.randn(2, 6)
    assert torch.equal(generator(z), expected(z))
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


def test_a_discriminator_without_a_trunk_is_found_by_its_kind(file: Path) -> None:
    expected, (generator, discriminator) = networks(1), networks(2)
    report = load_source(file, generator, discriminator, "efficientnet_lite0")
    assert report.missing == report.mismatched == ()
    assert "discriminator.stylegan2.b16.conv0.weight" in report.copied
    for made, own in zip(expected, (generator, discriminator), strict=True):
        assert differences(made.state_dict(), own.state_dict()) == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "does not say which generator it holds; sources written by gansweep import, and exports, do"),
        ({"generator": SAID["generator"]}, "does not say which generator it holds"),
        ({"generator": {"name": "stylegan2", "z_dim": 6, "colour": 1}, "resolution": 16}, "colour"),
        ({"generator": {"name": "stylegan9"}, "resolution": 16}, "stylegan9"),
        (
            {"generator": SAID["generator"], "resolution": 24},
            "the resolution of stylegan2 must be a power of two >= 8",
        ),
        ({"generator": SAID["generator"], "resolution": 32}, "its generator is not the network that .*b32"),
        ({"generator": {"name": "inverted_trunk"}, "resolution": 16}, "unknown backbone"),
    ],
)
def test_a_generator_that_cannot_be_built_is_told(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    file = tmp_path / "odd.safetensors"
    save_source(file, networks(1)[0], {}, metadata)
    with pytest.raises(ValueError, match=rf"source .*odd\.safetensors: (.|\n)*{message}"):
        load_generator(file)


@pytest.mark.parametrize(
    "metadata",
    [
        "[",
        "3",
        '["a"]',
        '{"generator": 3}',
        '{"generator": {"z_dim": 3}}',
        '{"discriminator": []}',
        '{"resolution": "16"}',
        "[" * 10**5,
    ],
)
def test_odd_metadata_are_refused_by_name(tmp_path: Path, metadata: str) -> None:
    file = tmp_path / "odd.safetensors"
    save_file({"generator.w": torch.zeros(1)}, file, metadata={"gansweep": metadata})
    for read in open_source, architecture_of:
        with pytest.raises(ValueError, match=r"source checkpoint .*odd\.safetensors is damaged in its metadata: "):
            read(file)


def test_the_demo_s_source_says_what_it_is_of() -> None:
    demo = Path(__file__).parents[3] / "examples" / "twemoji" / "source_32px.safetensors"
    found = architecture_of(demo)
    assert (found.generator, found.resolution) == ({"name": "compact", "z_dim": 128, "channels": 32, "max_channels": 192}, 32)
    assert load_generator(demo)(torch.zeros(1, 128)).shape == (1, 3, 32, 32)
    assert json.dumps(found.metadata) == "{}"


def test_sizes_that_a_file_merely_claims_are_not_allocated(tmp_path: Path) -> None:
    """A mapping network of 35 TB, and layers of StyleGAN3 with a margin of which no tensor tells."""
    large = {"name": "stylegan2", "w_dim": 2**21, "z_dim": 2**21, "channel_base": 64}
    margin = {"name": "stylegan3", "z_dim": 4, "w_dim": 4, "channel_base": 64, "margin_size": 2**17}
    for options, said in ((large, "is not the network that its architecture says"), (margin, "less than or equal to 64")):
        file = tmp_path / "claims.safetensors"
        metadata = {"gansweep": json.dumps({"generator": options, "resolution": 32})}
        save_file({"generator.x": torch.zeros(1)}, file, metadata=metadata)
        with pytest.raises(ValueError, match=said):
            load_generator(file)
