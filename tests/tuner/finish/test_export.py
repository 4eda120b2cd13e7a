"""`gansweep export` on a sweep's folder made by hand, and `gansweep sample` in a fresh process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from tests.trainables.harm import HARMS
from tests.tuner.command import SPEC, Command, in_a_fresh_process
from tests.tuner.records.test_tables import METRIC, diverged, report
from trainables.checkpoint import TrialFiles
from trainables.generators import GENERATORS, Frame
from trainables.generators.compact import CompactOptions
from trainables.pictures import grid, png
from tuner.finish.export import export_best
from tuner.records.paths import SweepPaths
from tuner.records.trials import RecordBook, State
from tuner.spec import dump_spec, load_spec

GENERATOR = CompactOptions(z_dim=8, channels=4)
RESOLUTION = 32
INCEPTION = "fid[inception,299px-bilinear,n=8]"


def state(number: int) -> dict[str, torch.Tensor]:
    """A generator that nobody trained, another one for each number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        generator: torch.nn.Module = GENERATORS["compact"](GENERATOR, Frame(RESOLUTION), pytest.fail)
    return generator.state_dict()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials: 0 with FID 90, 1 with FID 70, 2 never evaluated; the best is exported."""
    folder = tmp_path_factory.mktemp("export")
    data = SPEC | {"trial": SPEC["trial"] | {"generator": GENERATOR.model_dump()}, "name": "made"}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    spec = load_spec(folder / "sweep.yaml")
    paths = SweepPaths(spec.root)
    paths.storage.write_bytes(paths.SPEC, dump_spec(spec))
    records = RecordBook(paths.trials)
    for number, fid in ((0, 90.0), (1, 70.0)):
        record = records.open(number, values(number))
        one = report(10, fid, fid, number=number)
        record.add(one)
        records.end(number, State.COMPLETE, "reached its budget of images")
        preview = png(grid(torch.zeros(4, 3, RESOLUTION, RESOLUTION)))
        TrialFiles(paths.trial(number)).save({"ema": state(number)}, one, preview, is_best=True)
    records.open(2, values(2)).add(diverged(5))
    records.end(2, State.FAILED, "d_loss is nan")
    export_best(paths, spec)
    return paths.folder


@pytest.fixture
def sweep(made: Path, tmp_path: Path) -> SweepPaths:
    """The sweep, nothing of it exported yet."""
    shutil.copytree(made, tmp_path / "made", ignore=shutil.ignore_patterns("export"))
    return SweepPaths(tmp_path / "made")


@pytest.fixture
def export(made: Path, tmp_path: Path) -> Path:
    """What the sweep exports."""
    return Path(shutil.copytree(made / "export" / "trial-0001", tmp_path / "exported"))


def values(number: int) -> dict[str, object]:
    return {
        "backbone": "efficientnet_lite0",
        "discriminator.frozen_depth": number,
        "feature_loss.layers": ["blocks.1"],
        "optimizer.generator_lr": 1e-3,
    }


def exported(folder: Path) -> int:
    """The number of the trial whose generator a folder holds."""
    tensors = load_file(folder / "generator.safetensors")
    (number,) = [n for n in range(3) if all(torch.equal(tensors[name], value) for name, value in state(n).items())]
    return number


class TestExport:
    def test_the_best_trial(self, command: Command, sweep: SweepPaths) -> None:
        said = command("export", str(sweep.folder))
        assert said.code == 0, said.err
        folder = sweep.folder / "export" / "trial-0001"
        assert said.out.splitlines()[0] == f"export: {folder}"
        assert f"gansweep sample {folder} --n 64" in said.out
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", "generator.safetensors", "samples.png"]
        assert exported(folder) == 1
        config = json.loads((folder / "config.json").read_text())
        assert config["metrics"][METRIC] == 70.0
        assert (config["trial"], config["sweep"], config["resolution"]) == (1, "made", RESOLUTION)
        assert config["generator"] == GENERATOR.model_dump()
        assert config["values"]["discriminator.frozen_depth"] == 1
        with Image.open(folder / "samples.png") as picture:
            assert picture.size == (8 * (3 * RESOLUTION + 2) + 2,) * 2

    def test_the_best_finalist_comes_before_the_sweep_s_own_best(self, command: Command, sweep: SweepPaths) -> None:
        rows = [{"trial": 0, "value": 40.0}, {"trial": 1, "value": 60.0}]
        sweep.storage.write_bytes("finalists.json", json.dumps({"metric": INCEPTION, "finalists": rows}).encode())
        command("export", str(sweep.folder))
        folder = sweep.folder / "export" / "trial-0000"
        assert exported(folder) == 0
        assert json.loads((folder / "config.json").read_text())["metrics"][INCEPTION] == 40.0

    def test_a_trial_and_a_place_of_one_s_own(self, command: Command, sweep: SweepPaths) -> None:
        out = command.folder / "mine" / "generator"
        for _ in range(2):  # an earlier export is replaced
            assert command("export", str(sweep.folder), "--trial", "0", "--out", str(out)).code == 0
        assert exported(out) == 0
        assert sorted(path.name for path in out.parent.iterdir()) == ["generator"]

    @pytest.mark.parametrize("number", ["2", "7"])
    def test_a_trial_that_has_nothing_to_export(self, command: Command, sweep: SweepPaths, number: str) -> None:
        said = command("export", str(sweep.folder), "--trial", number)
        assert said.code == 2
        assert f"trial must be one that was evaluated (0, 1), but got {number}" in said.err

    def test_a_sweep_without_evaluations(self, command: Command, sweep: SweepPaths) -> None:
        for number in (0, 1):
            (sweep.folder / "trials" / f"{number:04d}" / "record.json").unlink()
        said = command("export", str(sweep.folder))
        assert said.code == 2
        assert f"no trial of {sweep.folder} has been evaluated yet: there is nothing to export" in said.err

    def test_never_deletes_what_is_no_export(self, command: Command, sweep: SweepPaths) -> None:
        precious = command.folder / "images"
        before = sorted(precious.iterdir())
        said = command("export", str(sweep.folder), "--out", str(precious))
        assert said.code == 2
        assert f"{precious} is already there and is no export: choose a new folder" in said.err
        assert sorted(precious.iterdir()) == before
        command.file.write_text("a file")
        said = command("export", str(sweep.folder), "--out", str(command.file))
        assert said.code == 2
        assert command.file.read_text() == "a file"


class TestDamagedSweep:
    @pytest.mark.parametrize("harm", HARMS)
    def test_a_damaged_generator_is_named(self, command: Command, sweep: SweepPaths, harm: str) -> None:
        file = sweep.folder / "trials" / "0001" / "best.pt"
        file.write_bytes(HARMS[harm](file.read_bytes()))
        said = command("export", str(sweep.folder))
        assert said.code == 2
        assert f"error: {file} is damaged or holds more than tensors: " in said.err
        assert not (sweep.folder / "export").exists()

    def test_the_generator_of_another_trial_is_refused(self, command: Command, sweep: SweepPaths) -> None:
        mine, other = (sweep.folder / "trials" / f"000{number}" / "best.pt" for number in (1, 0))
        mine.write_bytes(other.read_bytes())
        said = command("export", str(sweep.folder))
        assert said.code == 2
        assert f"error: {mine} must be of trial 1, but is of trial 0" in said.err

    def test_a_generator_that_is_gone(self, command: Command, sweep: SweepPaths) -> None:
        (sweep.folder / "trials" / "0001" / "best.pt").unlink()
        said = command("export", str(sweep.folder))
        assert said.code == 2
        assert "error: the best generator of trial 1 is gone: " in said.err

    def test_a_preview_that_is_gone_is_not_needed(self, command: Command, sweep: SweepPaths) -> None:
        for preview in (sweep.folder / "trials" / "0001").glob("preview_*.png"):
            preview.unlink()
        assert command("export", str(sweep.folder)).code == 0

    def test_a_damaged_spec_is_refused(self, command: Command, sweep: SweepPaths) -> None:
        (sweep.folder / "spec.yaml").write_bytes(b"name: &a [*a]")
        for verb in ("export", "resume"):
            said = command(verb, str(sweep.folder))
            assert said.code == 2
            assert f"{sweep.folder / 'spec.yaml'}:1: column 7: holds itself, by an alias" in said.err


class TestSample:
    @pytest.mark.slow
    def test_a_fresh_process_loads_neither_ray_nor_the_search(self, export: Path, tmp_path: Path) -> None:
        out = tmp_path / "new" / "grid.png"
        assert in_a_fresh_process("sample", export, "--n", 5, "--out", out) == [f"5 pictures: {out}", "[]"]
        with Image.open(out) as picture:
            # 2 columns, 3 rows of 32 pixels three times enlarged, 2 pixels between and around.
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (2 * 98 + 2, 3 * 98 + 2))
            assert np.asarray(picture)[2:98, 2:98].std() > 0

    def test_a_folder_of_single_pictures(self, command: Command, export: Path, tmp_path: Path) -> None:
        out = tmp_path / "pictures"
        assert command("sample", str(export), "--n", "3", "--out", str(out)).code == 0
        assert sorted(file.name for file in out.iterdir()) == ["000000.png", "000001.png", "000002.png"]
        with Image.open(out / "000002.png") as picture:
            assert picture.size == (RESOLUTION, RESOLUTION)

    def test_pictures_are_named_by_seed_and_number(self, command: Command, export: Path, tmp_path: Path) -> None:
        def pixels(name: str, *arguments: str) -> list[bytes]:
            assert command("sample", str(export), "--out", str(tmp_path / name), *arguments).code == 0
            return [file.read_bytes() for file in sorted((tmp_path / name).iterdir())]

        few = pixels("few", "--n", "2")
        assert pixels("more", "--n", "4")[:2] == few
        assert pixels("again", "--n", "2") == few
        assert pixels("other", "--n", "2", "--seed", "1") != few
        assert few[0] != few[1]

    def test_scale(self, command: Command, export: Path, tmp_path: Path) -> None:
        assert command("sample", str(export), "--n", "1", "--scale", "1", "--out", str(tmp_path / "g.png")).code == 0
        with Image.open(tmp_path / "g.png") as picture:
            assert max(picture.size) <= RESOLUTION + 4

    def test_no_export(self, command: Command, sweep: SweepPaths) -> None:
        command.file.write_text("a file")
        for folder in (command.folder, command.folder / "nowhere", command.file):
            said = command("sample", str(folder))
            assert said.code == 2
            assert f"error: {folder} is not an export: " in said.err
            assert "is missing" in said.err

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("config.json", b"{", "config.json is damaged"),
            ("config.json", b"[]", "config.json: format must be 2, but got []"),
            ("config.json", b"\xff", "config.json is damaged"),
            ("config.json", b'{"format": 99}', "format must be 2, but got 99"),
            ("config.json", b'{"format": 2}', "config.json is damaged"),
            ("config.json", b'{"format": 2, "resolution": 32, "generator": {"name": "compacd"}}', "config.json is damaged"),
            ("config.json", b'{"format": 2, "resolution": "x", "generator": {"name": "compact"}}', "config.json is damaged"),
            (
                "config.json",
                b'{"format": 2, "resolution": 32, "task": {"name": "generation"}, "backbone": "vgg16", '
                b'"generator": {"name": "compact"}}',
                "generator.safetensors is damaged",
            ),
            ("generator.safetensors", b"", "generator.safetensors is damaged"),
            ("generator.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "generator.safetensors is damaged"),
        ],
    )
    def test_a_damaged_export(self, command: Command, export: Path, file: str, content: bytes, message: str) -> None:
        (export / file).write_bytes(content)
        said = command("sample", str(export), "--out", str(command.folder / "grid.png"))
        assert said.code == 2
        assert str(export) in said.err
        assert message in said.err
        assert not (command.folder / "grid.png").exists()

    def test_weights_are_missing(self, command: Command, export: Path) -> None:
        (export / "generator.safetensors").unlink()
        said = command("sample", str(export))
        assert said.code == 2
        assert f"{export} is not an export: " in said.err
        assert "generator.safetensors" in said.err

    def test_nowhere_to_write(self, command: Command, export: Path) -> None:
        command.file.write_text("a file")
        said = command("sample", str(export), "--n", "1", "--out", str(command.file / "grid.png"))
        assert said.code == 2
        assert str(command.file) in said.err

    @pytest.mark.parametrize("arguments", [["--n", "0"], ["--n", "x"], ["--seed", "-1"], ["--scale", "0"]])
    def test_numbers_out_of_range(self, command: Command, export: Path, arguments: list[str]) -> None:
        said = command("sample", str(export), *arguments)
        assert said.code == 2
        assert arguments[0] in said.err
