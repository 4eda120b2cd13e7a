"""`gansweep components`: complete, of the registries' own words, and the page in docs/ is what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainables.backbones import BACKBONES
from trainables.config import TrialConfig
from trainables.discriminators import DISCRIMINATORS
from trainables.generators import GENERATORS
from trainables.losses import GENERATOR_REGULARISERS, REGULARISERS
from trainables.registry import Registry
from trainables.tasks import TASKS
from tuner.cli import app
from tuner.commands.components import markdown, options_of, sections
from tuner.schedulers import SCHEDULERS
from tuner.spec import SweepSpec

PAGE = Path(__file__).parents[3] / "docs" / "components.md"


def test_the_page_in_docs_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(sections()), "run: gansweep components > docs/components.md"


def test_the_command() -> None:
    said = CliRunner().invoke(app, ["components"])
    assert (said.exit_code, said.stdout) == (0, markdown(sections()))
    data = json.loads(CliRunner().invoke(app, ["components", "--json"]).stdout)
    assert [section["key"] for section in data] == [section.key for section in sections()]
    generators = next(section for section in data if section["key"] == "trial.generator")
    depth = {"name": "depth", "takes": "integer >= 1", "default": "3", "meaning": "How often the encoder halves the resolution."}
    assert depth in next(entry for entry in generators["entries"] if entry["name"] == "unet")["options"]


def test_every_component_says_what_it_is() -> None:
    for section in sections():
        assert section.entries
        names = [entry.name for entry in section.entries]
        assert len(set(names)) == len(names)
        for entry in section.entries:
            assert len(entry.meaning) > 5, (section.kind, entry.name)
            assert all(len(option.meaning) > 5 for option in entry.options), entry.name


REGISTRIES = (TASKS, GENERATORS, DISCRIMINATORS, REGULARISERS, GENERATOR_REGULARISERS, SCHEDULERS)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.kind)
def test_every_option_of_every_entry_is_there(registry: Registry) -> None:  # type: ignore[type-arg]
    found = {entry.name: entry for section in sections() for entry in section.entries if section.key == _KEYS[registry.kind]}
    assert set(found) == set(registry)
    for name, component in registry.items():
        fields = component.Options.model_fields
        assert {option.name for option in found[name].options} == set(fields) - {"name"}
        for option in options_of(component.Options):
            assert (option.default == "required") == fields[option.name].is_required()


_KEYS = {
    "task": "task",
    "generator": "trial.generator",
    "discriminator": "trial.discriminator",
    "regulariser": "trial.regularisers",
    "regulariser of the generator": "trial.generator_regularisers",
    "scheduler": "scheduler",
}


def test_every_key_is_one_of_a_spec() -> None:
    for section in sections():
        first, _, rest = section.key.partition(".")
        assert first in SweepSpec.model_fields
        if rest:
            assert rest.partition(".")[0] in TrialConfig.model_fields


def test_backbones_have_their_layers() -> None:
    (section,) = [section for section in sections() if section.key == "trial.backbone"]
    for entry, info in zip(section.entries, BACKBONES.values(), strict=False):
        assert entry.name == info.name
        assert all(layer in entry.meaning for layer in info.layer_names)
    assert [entry.name for entry in section.entries[len(BACKBONES) :]] == ["torchvision/NAME", "timm/NAME"]
