"""What of a StyleGAN2 is trained: adapters, frozen parts, the miner; and that what was trained so becomes plain again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.exported import load_export, save_export
from trainables.generators import GENERATORS, Frame
from trainables.generators.adaptation import ADAPTATIONS
from trainables.layers.adapters import is_adapter, merged

SMALL: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
every_way = pytest.mark.parametrize("way", ADAPTATIONS)


def build(**options: Any) -> Any:
    torch.manual_seed(0)
    cls = GENERATORS["stylegan2"]
    return cls(cls.Options(**SMALL, **options), Frame(16), lambda channels: None)


def latents() -> Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def trained(generator: Any) -> set[str]:
    return {name for name, parameter in generator.named_parameters() if parameter.requires_grad}


@every_way
def test_an_adapted_generator_starts_as_the_pretrained_one(way: str) -> None:
    plain, adapted = build(), build(adapt=way, miner_layers=2)
    left = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert all(is_adapter(name) or name.startswith("miner.") for name in left.missing_keys)
    assert torch.equal(plain(latents()), adapted(latents()))


@every_way
@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_what_adapters_learn_goes_into_the_plain_network(way: str, architecture: str) -> None:
    adapted = build(adapt=way, adapt_rank=2, architecture=architecture)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    state = merged(adapted.state_dict())
    plain = build(architecture=architecture)
    plain.load_state_dict(state)
    assert not torch.allclose(plain(latents()), build(architecture=architecture)(latents()), atol=0.1)
    torch.testing.assert_close(plain(latents()), adapted(latents()), rtol=1e-4, atol=1e-4)


def test_each_way_trains_its_own_part() -> None:
    parts = {way: trained(build(adapt=way)) for way in ADAPTATIONS}
    names = {name for name, _ in build().named_parameters()}
    assert parts["full"] == names
    assert parts["affine"] == {name for name in names if ".affine." in name}
    assert {name.rpartition(".")[2] for name in parts["scale_shift"]} == {"scale", "bias"}
    assert "synthesis.b16.conv1.bias" in parts["scale_shift"]
    assert not any(name.startswith("mapping.") or ".affine." in name for name in parts["scale_shift"])
    for way in ("lora", "kernel_modulation"):
        assert parts[way]
        assert all(is_adapter(name) for name in parts[way])
    assert all("miner.layers.0.weight" in trained(build(adapt=way, miner_layers=1)) for way in ADAPTATIONS)


@pytest.mark.parametrize(
    ("frozen", "prefixes"),
    [
        ({"mapping": True}, ("mapping.",)),
        ({"constant": True}, ("synthesis.b4.const",)),
        ({"below": 16}, ("synthesis.b4.", "synthesis.b8.")),
        ({"mapping": True, "below": 8}, ("mapping.", "synthesis.b4.")),
    ],
)
def test_frozen_parts_are_not_trained_whatever_the_way(frozen: dict[str, Any], prefixes: tuple[str, ...]) -> None:
    for way in ADAPTATIONS:
        assert trained(build(adapt=way, frozen=frozen)) == {n for n in trained(build(adapt=way)) if not n.startswith(prefixes)}


def test_a_rank_does_not_decide_the_size_of_what_is_learnt() -> None:
    sizes = []
    for rank in (1, 16):
        adapter = build(adapt="lora", adapt_rank=rank).synthesis.b16.conv1.adapter
        with torch.no_grad():
            adapter.up.fill_(1.0)
        sizes.append(float(adapter.kernel(torch.zeros(adapter.up.shape[0], adapter.down.shape[1])).detach().std()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.5)


def test_a_miner_alone_needs_a_miner() -> None:
    with pytest.raises(ValueError, match="miner_alone_kimg of stylegan2 needs miner_layers >= 1, but got 0"):
        build(miner_alone_kimg=1)


@every_way
def test_an_export_is_a_plain_network(way: str, tmp_path: Path) -> None:
    adapted = build(adapt=way, adapt_rank=2, frozen={"below": 8}, miner_layers=1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    options = GENERATORS["stylegan2"].Options(**SMALL, adapt=way, adapt_rank=2, frozen={"below": 8}, miner_layers=1)
    config = {"task": {"name": "generation"}, "backbone": "resnet18", "resolution": 16, "generator": options.model_dump()}
    save_export(tmp_path / "export", adapted.state_dict(), config)
    generator, said = load_export(tmp_path / "export")
    assert not any(is_adapter(name) for name in generator.state_dict())
    assert not GENERATORS["stylegan2"].Options.TRAINING & said["generator"].keys()
    torch.testing.assert_close(generator(latents()), adapted(latents()), rtol=1e-4, atol=1e-4)
