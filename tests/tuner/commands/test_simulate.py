"""`gansweep simulate`: what it prints, for people and machines, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.tuner.command import Command, changed
from tests.tuner.simulate.test_recorded import finished
from tuner.simulate.recorded import record


def test_a_made_up_sweep(command: Command) -> None:
    said = command("simulate", "--workers", "2", "--workers", "4", "--seeds", "2", "--trainings", "3", "--json")
    result = json.loads(said.out)
    assert [one["workers"] for one in result["results"]] == [2, 4]
    assert result["seeds"] == 2
    assert [row["method"] for row in result["results"][0]["methods"]] == [
        "gansweep", "random, no stopping", "random + Ray's ASHA", "Ray's OptunaSearch + ASHA", "Optuna's TPE + its pruner",
        "random, top K",
    ]  # fmt: skip
    assert "synthetic curves, made up" in result["about"]
    assert result["basis"] == "all curves are synthetic: they say nothing of GANs"
    assert said.err.startswith("synthetic curves, made up")


def test_a_spec_s_own_space_and_rungs(command: Command) -> None:
    command.file.write_text(yaml.safe_dump(changed({})))
    said = command("simulate", str(command.file), "--seeds", "1", "--method", "gansweep")
    assert said.code == 0
    assert f"over the space of {command.file}" in said.out
    assert "budget 3 whole trainings" in said.out
    assert "6 worker groups, 1 seeds: median (quartiles)" in said.out


def test_recorded_curves(command: Command, tmp_path: Path) -> None:
    sweeps = [finished(tmp_path / str(seed), seed=seed).root for seed in range(2)]
    out = tmp_path / "curves.parquet"
    said = command("simulate", "record", *map(str, sweeps), "--out", str(out))
    assert said.out.startswith(f"{out}: 6 trials of small, 4 evaluations each")
    assert "left out: 2 trials that a rule stopped" in said.out
    assert "surrogate (nearest neighbours), each configuration predicted by the others: median error" in said.out
    said = command("simulate", str(out), "--seeds", "1", "--trainings", "3", "--method", "gansweep", "--json")
    result = json.loads(said.out)
    assert result["about"].startswith(
        "recorded curves: 6 trials of small; fid[efficientnet_lite0,32px-bilinear,n=32]; target 96;"
    )
    assert "simulated trials were recorded ones, the others are the surrogate's" in result["basis"]


def test_what_is_refused(command: Command, tmp_path: Path) -> None:
    said = command("simulate", "--method", "best")
    assert said.code == 2
    assert "no method has best in its name; there are: gansweep; random, no stopping;" in said.err
    record([finished(tmp_path / "a").root], tmp_path / "curves.parquet")
    command.file.write_text(yaml.safe_dump(changed({})))
    said = command("simulate", str(command.file), "--curves", str(tmp_path / "curves.parquet"))
    assert said.code == 2
    assert "was recorded in another space than that of" in said.err
    (tmp_path / "no.parquet").write_text("")
    assert "holds no recorded curves" in command("simulate", str(tmp_path / "no.parquet")).err
    missing = command("simulate", str(tmp_path / "missing.parquet"))
    assert (missing.code, missing.err) == (2, f"error: there is no file {tmp_path / 'missing.parquet'}\n")
    said = command("simulate", "record", str(tmp_path), "--out", str(tmp_path / "no" / "curves.parquet"))
    assert (said.code, "there is no folder" in said.err) == (2, True)


@pytest.mark.parametrize("words", [("simulate", "run"), ("simulate", "record")])
def test_both_commands_have_help(command: Command, words: tuple[str, str]) -> None:
    assert command(*words, "--help").code == 0
