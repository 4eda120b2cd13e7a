"""Damaged checkpoints: noticed down to a bit, named, and passed over where a trial can start anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.harm import HARMS, flips
from tests.trainables.small import differences
from trainables.checkpoint import FORMAT, OtherFormatError, TrialFiles
from trainables.storage import Storage

NAME = "checkpoint_00000005.pt"


def trainer_state(seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    weights = {f"layer{i}.weight": torch.randn(16, 8, generator=generator) for i in range(4)}
    return {"ema": weights, "generator": weights, "step": 5, "backbone": "vgg16", "augment": {"p": 0.5, "names": ["flip"]}}


def trial(folder: Path, number: int = 3, step: int = 5) -> TrialFiles:
    files = TrialFiles(Storage(folder), number)
    files.save(trainer_state(number), {"number": number, "step": step, "score_best": 1.5}, b"png", is_best=True)
    return files


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", [NAME, "best.pt"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, harm: str, name: str) -> None:
    files = trial(tmp_path)
    (tmp_path / name).write_bytes(HARMS[harm]((tmp_path / name).read_bytes()))
    with pytest.raises(ValueError, match=rf"{name} (is damaged|holds)"):
        files.load(5) if name == NAME else files.load_best()


def test_no_flipped_bit_gives_another_result(tmp_path: Path) -> None:
    files = trial(tmp_path)
    file, expected = tmp_path / NAME, files.load(5)
    data = file.read_bytes()
    noticed = 0
    for place, damaged in flips(data, 400):
        file.write_bytes(damaged)
        try:
            assert differences(files.load(5), expected) == [], place
        except ValueError as error:
            assert NAME in str(error)  # noqa: PT017 - either of two ends is right
            noticed += 1
    assert noticed > 100, "the rest lies in what fills the space between tensors"


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    files = trial(tmp_path)
    assert differences(files.newest(), files.load(5)) == []
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-10])
    with pytest.warns(UserWarning, match=rf"a checkpoint is passed over, and .*{NAME} is damaged"):
        assert files.newest() is None


def test_the_one_before_is_taken_where_it_is_still_there(tmp_path: Path) -> None:
    files = trial(tmp_path)
    before = (tmp_path / NAME).read_bytes()
    trial(tmp_path, step=10)
    (tmp_path / NAME).write_bytes(before)
    (tmp_path / "checkpoint_00000010.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"checkpoint_00000010\.pt is damaged"):
        found = files.newest()
    assert found is not None
    assert found["report"]["step"] == 5


def test_no_checkpoint_is_no_warning(tmp_path: Path) -> None:
    assert TrialFiles(Storage(tmp_path)).newest() is None


def test_another_trials_file_is_refused(tmp_path: Path) -> None:
    files = trial(tmp_path / "3")
    trial(tmp_path / "4", number=4)
    for name in (NAME, "best.pt"):
        (tmp_path / "3" / name).write_bytes((tmp_path / "4" / name).read_bytes())
    with pytest.raises(ValueError, match=rf"{NAME} must be of trial 3, but is of trial 4"):
        files.load(5)
    with pytest.raises(ValueError, match=r"best\.pt must be of trial 3, but is of trial 4"):
        files.load_best()
    with pytest.warns(UserWarning, match="must be of trial 3"):
        assert files.newest() is None


def test_a_checkpoint_under_another_steps_name_is_refused(tmp_path: Path) -> None:
    files = trial(tmp_path)
    (tmp_path / NAME).rename(tmp_path / "checkpoint_00000009.pt")
    with pytest.raises(ValueError, match=r"checkpoint_00000009\.pt must hold step 9, but holds step 5"):
        files.load(9)


def test_the_best_in_the_place_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    files = trial(tmp_path)
    (tmp_path / NAME).write_bytes((tmp_path / "best.pt").read_bytes())
    with pytest.raises(ValueError, match=rf"{NAME} is no checkpoint of a trial: it has no 'trainer'"):
        files.load(5)


def test_what_another_version_wrote_is_not_thrown_away(tmp_path: Path) -> None:
    files = trial(tmp_path)
    state = files.storage.load(NAME)
    files.storage.save(NAME, state | {"format": FORMAT + 1})
    with pytest.raises(OtherFormatError, match=rf"checkpoint format must be {FORMAT}, but got {FORMAT + 1} in .*{NAME}"):
        files.newest()


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "trainer": Path("x")}, tmp_path / NAME)
    with pytest.raises(
        ValueError, match=rf"{NAME} is damaged or holds more than tensors: it cannot be read without running code"
    ):
        TrialFiles(Storage(tmp_path)).load(5)
