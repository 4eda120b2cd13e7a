"""Hostile and damaged pickles: none runs anything, each is refused with its reason, quickly and in little memory."""

from __future__ import annotations

import json
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainables.source.hostile import STOP, archive, data, name, pickles, storage, text
from tests.trainables.source.official import dumped, module, tensors, truth
from trainables.source import open_source

EXPECTED = {attempt: said for attempt, (_, said) in pickles(Path("canary")).items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, tuple[str, float]]:
    """What was said of each hostile pickle, and how many seconds it took, in a process of little memory."""
    for index, (content, _) in enumerate(pickles(folder / "canary").values()):
        (folder / f"{index}.pkl").write_bytes(content)
    command = [sys.executable, "-W", "error", "-m", "tests.trainables.source.hostile", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    found = json.loads(done.stdout)
    return {name: tuple(found[str(index)]) for index, name in enumerate(EXPECTED)}


@pytest.mark.parametrize("attempt", EXPECTED)
def test_each_is_refused_with_its_reason(said: dict[str, tuple[str, float]], folder: Path, attempt: str) -> None:
    message, seconds = said[attempt]
    assert re.match(rf"source {re.escape(str(folder))}/\d+\.pkl: ", message), message
    assert re.search(EXPECTED[attempt], message), message
    assert message.isprintable()
    assert len(message) < 600
    assert seconds < 10


def test_none_has_run_anything(said: dict[str, tuple[str, float]], folder: Path) -> None:
    assert len(said) >= 30
    assert not (folder / "canary").exists()


def test_the_canary_sings(tmp_path: Path) -> None:
    """The attempts are real: Python's own reader makes the file."""
    canary = tmp_path / "canary"
    for attempt in ("os.system", "builtins.eval", "by the stack", "getattr chain", "INST"):
        pickle.loads(pickles(canary)[attempt][0])
        assert canary.exists(), attempt
        canary.unlink()


@pytest.fixture(scope="module")
def official() -> bytes:
    return dumped(module("Generator", truth("stylegan2")["kwargs"]["G"], tensors("stylegan2", "G")))


def test_a_pickle_that_is_cut_off_anywhere_is_refused(official: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cut.pkl"
    for place in [*range(0, 400, 7), *random.Random(1).sample(range(len(official) - 1), 60), len(official) - 1]:
        file.write_bytes(official[:place])
        with pytest.raises(ValueError, match=r"source .*cut\.pkl: "):
            open_source(file)


def test_no_damage_does_more_than_to_change_data(official: bytes, tmp_path: Path) -> None:
    """Bytes changed where the instructions are: it is refused, or only numbers of the tensors are others."""
    file, numbers, refused = tmp_path / "damaged.pkl", random.Random(2), 0
    for _ in range(150):
        damaged = bytearray(official)
        for _ in range(numbers.choice([1, 1, 3])):
            damaged[numbers.randrange(3000)] = numbers.randrange(256)
        file.write_bytes(damaged)
        try:
            open_source(file)
        except ValueError as error:
            assert str(error).startswith(f"source {file}: ")  # noqa: PT017 - either of two ends is right
            refused += 1
    assert refused > 75


def test_random_programs_are_refused(tmp_path: Path) -> None:
    numbers, file = random.Random(3), tmp_path / "random.pkl"
    parts = [bytes([code]) for code in range(256)] + [
        *(name(*full.rsplit(".", 1)) for full in ("torch.storage._load_from_bytes", "builtins.set", "numpy.dtype", "os.system")),
        *(name(*full.rsplit(".", 1)) for full in ("dnnlib.util.EasyDict", "torch._utils._rebuild_tensor_v2", "numpy.ndarray")),
        *(text("a"), data(b"b"), b"K\x01", storage(archive(STOP)), b"q\x00", b"h\x00"),
        *(bytes([code]) for code in b"(t\x85Rbsu}]"),
    ]
    weights = [1] * 256 + [8] * (len(parts) - 256)
    for _ in range(1500):
        file.write_bytes(b"".join(numbers.choices(parts, weights, k=numbers.randrange(1, 40))) + STOP)
        with pytest.raises(ValueError, match=r"source .*random\.pkl: "):
            open_source(file)
