"""What `--help` shows reads well on a terminal: of every command, plain words."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tuner.cli import app


def commands() -> list[list[str]]:
    """The words before `--help` of the whole command and of every one below it."""
    found: list[list[str]] = []

    def walk(command: object, words: list[str]) -> None:
        found.append(words)
        for name, below in getattr(command, "commands", {}).items():
            walk(below, [*words, name])

    walk(get_command(app), [])
    return found


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words) or "gansweep")
def test_help_is_plain_words(words: list[str]) -> None:
    said = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "120"})
    assert said.exit_code == 0
    assert "`" not in said.stdout
    # Markup that a terminal would not show, of Rich and of Sphinx.
    assert not re.search(r"\[/?(bold|red|dim|cyan)\]|:\w+:|\*\*", said.stdout)


def test_every_argument_and_option_is_explained() -> None:
    for words in commands():
        command = get_command(app)
        for word in words:
            command = command.commands[word]  # type: ignore[attr-defined]
        for parameter in command.params:
            assert getattr(parameter, "help", "") or parameter.name == "help", (words, parameter.name)
