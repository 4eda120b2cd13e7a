"""Whole-file, atomic writes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs

from tests.trainables.small import differences
from tests.trainables.test_weights import Malicious
from trainables.storage import Storage


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_write_read_list_delete(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "new" / "root")
    assert storage.list() == []
    assert not storage.exists()
    storage.write_bytes("b", b"2")
    storage.write_bytes("a", b"1")
    storage.write_bytes("folder/deep/c", b"3")
    assert storage.list() == ["a", "b", "folder"]
    assert storage.list("folder/deep") == ["c"]
    assert storage.list("nowhere") == []
    assert storage.read_bytes("folder/deep/c") == b"3"
    storage.write_bytes("a", b"other")
    assert storage.read_bytes("a") == b"other"
    storage.delete("a")
    storage.delete("a")
    assert not storage.exists("a")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes("a")
    assert files(tmp_path / "new" / "root") == ["b", "folder/deep/c"]


class FullDisk:
    """A disk that fails at one of the operations of a write; the rest is the real one."""

    def __init__(self, fails_at: str) -> None:
        self.real = fs.LocalFileSystem()
        self.fails_at = fails_at

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self.fails_at else getattr(self.real, name)

    def _fail(self, *_: Any) -> Any:
        raise OSError(28, "No space left on device")


class FullStream:
    """Takes half of what is written."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> FullStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, data: bytes) -> None:
        self.stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fails_at", ["open_output_stream", "move", "write"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    storage = Storage(tmp_path)
    storage.write_bytes("state", b"old content")
    full = FullDisk(fails_at)
    if fails_at == "write":
        full.open_output_stream = lambda path: FullStream(full.real.open_output_stream(path))  # type: ignore[attr-defined]
    monkeypatch.setattr(storage, "_filesystem", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes("state", b"new content")
    assert storage.read_bytes("state") == b"old content"
    assert files(tmp_path) == ["state"]


def test_a_root_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        Storage(tmp_path / "file" / "root").write_bytes("a", b"1")


def test_an_unfinished_write_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt.0a1b2c3d.part").write_bytes(b"half")
    assert Storage(tmp_path).list() == []


def test_a_copy_in_another_process_sees_the_same_files(tmp_path: Path) -> None:
    Storage(tmp_path).write_bytes("a", b"1")
    copy = pickle.loads(pickle.dumps(Storage(tmp_path)))
    assert copy.root == Storage(tmp_path).root
    assert copy.read_bytes("a") == b"1"


@pytest.mark.parametrize("name", ["with space", "100%", "a#b", "ünïcode", "a?b"])
def test_any_folder_name_works(tmp_path: Path, name: str) -> None:
    Storage(tmp_path / name).at("trial").write_bytes("a", b"1")
    assert (tmp_path / name / "trial" / "a").read_bytes() == b"1"


def test_local_and_remote_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Storage("relative").local == tmp_path.resolve() / "relative"
    assert Storage(tmp_path.as_uri()).local == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Storage("~/sweeps").local == tmp_path / "sweeps"
    assert Storage(tmp_path).at("x").root == str(tmp_path.resolve() / "x")


def test_a_folder_below_a_uri_keeps_the_uris_options() -> None:
    storage = Storage("s3://bucket/sweeps?region=eu-west-1&endpoint_override=localhost:9").at("trials").at("3")
    assert storage.root == "s3://bucket/sweeps/trials/3?region=eu-west-1&endpoint_override=localhost:9"
    assert storage.local is None
    assert storage._path("best.pt") == "bucket/sweeps/trials/3/best.pt"


def test_tensors_and_plain_values_round_trip(tmp_path: Path) -> None:
    state = {
        "tensors": {"float": torch.randn(2, 3), "int": torch.arange(3), "half": torch.ones(2, dtype=torch.float16)},
        "values": [1, 2.5, "text", None, True, (3, 4)],
        "infinite": float("inf"),
    }
    storage = Storage(tmp_path)
    storage.save("state.pt", state)
    assert differences(storage.load("state.pt"), state) == []


def pickled(content: object) -> bytes:
    return pickle.dumps(content, protocol=2)


@pytest.mark.parametrize("how", [pickled, None], ids=["pickle", "torch.save"])
def test_code_in_a_file_does_not_run(tmp_path: Path, how: Callable[[object], bytes] | None) -> None:
    storage, target = Storage(tmp_path), tmp_path / "owned"
    content = {"trainer": Malicious(target)}
    if how is None:
        torch.save(content, tmp_path / "state.pt")
    else:
        storage.write_bytes("state.pt", how(content))
    with pytest.raises(ValueError, match=r"state\.pt is damaged or holds more than tensors"):
        storage.load("state.pt")
    assert not target.exists()


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.save("state.pt", {"x": torch.zeros(1000)})
    storage.write_bytes("state.pt", storage.read_bytes("state.pt")[:-900])
    with pytest.raises(ValueError, match=r"state\.pt is damaged"):
        storage.load("state.pt")


def test_unfinished_writes_of_the_dead_are_collected(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.write_bytes("trials/3/preview.png", b"png")
    old = [tmp_path / "spec.yaml.0123abcd.part", tmp_path / "trials" / "3" / "best.pt.89ef4567.part"]
    others = [tmp_path / "trials" / "3" / "new.pt.0123abcd.part", tmp_path / "mine.part", tmp_path / "notes.0123abcd.part.txt"]
    for file in [*old, *others]:
        file.write_bytes(b"half")
    for file in [*old, *others[1:]]:
        os.utime(file, (0, 0))
    assert storage.collect() == 2
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in others), "a young one may be being written, and others are not ours"
    assert storage.read_bytes("trials/3/preview.png") == b"png"
    assert storage.collect(older_than_s=-1) == 1
    assert Storage(tmp_path / "nowhere").collect() == 0
