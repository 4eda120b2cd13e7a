"""docs/fine-tuning.md says what is so: its spec is one, and every key that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from trainables.config import TrialConfig
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS, Frame
from trainables.source import save_source
from tuner.spec import SweepSpec, load_spec
from tuner.spec.checks import check_spec, example_configs
from tuner.spec.problems import keys_at

PAGE = (Path(__file__).parents[1] / "docs" / "fine-tuning.md").read_text(encoding="utf-8")


def test_its_spec_is_valid_and_its_trials_have_the_source_s_networks(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "sweep.yaml").write_text(text)
    widths = {"channel_base": 512, "channel_max": 8}
    g, d = GENERATORS["stylegan2"], DISCRIMINATORS["stylegan2"]
    options, beside = g.Options(z_dim=8, w_dim=8, **widths), d.Options(**widths)
    networks = g(options, Frame(256), pytest.fail), d(beside, pytest.fail, 0, 256)
    said = {"generator": options.model_dump(), "discriminator": beside.model_dump(), "resolution": 256}
    save_source(tmp_path / yaml.safe_load(text)["source"], networks[0], {"stylegan2": networks[1]}, said, torch.float16)
    spec = load_spec(tmp_path / "sweep.yaml")
    assert check_spec(spec) == []
    assert list(spec.starts()) == ["ada", "freezed", "vision_aided"]
    configs = example_configs(spec)
    assert {config.generator.channel_max for config in configs} == {8}
    assert {config.discriminator.name for config in configs} == {"stylegan2", "projected", "ensemble"}
    assert {config.discriminator.members[0].channel_max for config in configs if hasattr(config.discriminator, "members")} == {8}


KEYS = sorted(set(re.findall(r"`((?:trial\.|data\.|budget\.|resources\.|generator\.|discriminator\.)[a-z_.]+)", PAGE)))


def test_it_names_keys() -> None:
    assert len(KEYS) > 20


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_it_names_exists(key: str) -> None:
    model, path = (TrialConfig, key) if key.startswith(("generator.", "discriminator.")) else (SweepSpec, key)
    if key.startswith("trial."):
        model, path = TrialConfig, key.removeprefix("trial.")
    *above, leaf = path.rstrip(".").split(".")
    assert leaf in keys_at(model, above)
