"""The same pictures from a folder, an archive, Parquet and a remote file system are the same data set."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainables.data.pictures import faces
from trainables.data import FORMATS, DataError, DataOptions, check_data, load_dataset
from trainables.data.files import list_files


def make_zip(source: Path, target: Path) -> Path:
    file = target / "faces.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for picture in sorted(source.iterdir(), reverse=True):  # the order inside does not matter
            archive.write(picture, f"faces/{picture.name}")
        archive.writestr("__MACOSX/faces/._1f600.png", b"resource fork")
        archive.writestr("faces/readme.txt", b"mine")
    return file


def make_tar(source: Path, target: Path, mode: str = "w:gz", name: str = "faces.tar.gz") -> Path:
    file = target / name
    with tarfile.open(file, mode) as archive:
        for picture in sorted(source.iterdir()):
            archive.add(picture, f"./faces/{picture.name}")
    return file


def make_plain_tar(source: Path, target: Path) -> Path:
    return make_tar(source, target, "w", "faces.tar")


def make_parquet(source: Path, target: Path) -> Path:
    file = target / "faces.parquet"
    data = [picture.read_bytes() for picture in sorted(source.iterdir())]
    pq.write_table(pa.table({"label": list(range(len(data))), "photo": data}), file)
    return file


def make_hugging_face_shards(source: Path, target: Path) -> Path:
    """A folder of two shards with an `image` struct, and a column of other bytes."""
    folder = target / "data"
    folder.mkdir()
    rows = [{"bytes": picture.read_bytes(), "path": picture.name} for picture in sorted(source.iterdir())]
    for shard in range(2):
        part = rows[shard * 6 : shard * 6 + 6]
        pq.write_table(pa.table({"image": part, "mask": [b"0"] * len(part)}), folder / f"train-{shard:05}-of-00002.parquet")
    return folder


def make_uri(source: Path, target: Path) -> Path | str:
    return f"file://{source}"


def make_zip_uri(source: Path, target: Path) -> str:
    return f"file://{make_zip(source, target)}"


def make_zip_shards(source: Path, target: Path) -> Path:
    folder = target / "shards"
    pictures = sorted(source.iterdir())
    for shard in range(2):
        part = folder / str(shard)
        part.mkdir(parents=True)
        for picture in pictures[shard * 6 : shard * 6 + 6]:
            shutil.copy(picture, part)
        make_zip(part, part)
        for picture in part.glob("*.png"):
            picture.unlink()
    return folder


MAKERS = [make_zip, make_tar, make_plain_tar, make_parquet, make_hugging_face_shards, make_uri, make_zip_uri, make_zip_shards]


def options(path: Path | str, **more: object) -> DataOptions:
    return DataOptions.model_validate({"path": str(path), "resolution": 24, **more})


@pytest.mark.parametrize("make", MAKERS)
def test_same_pictures_from_every_format(make: Callable[[Path, Path], Path | str], tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    path = make(folder, tmp_path)
    expected = load_dataset(options(folder), tmp_path / "cache")
    dataset = load_dataset(options(path), tmp_path / "cache2")
    assert dataset.content_hash == expected.content_hash
    assert len(set(dataset.names)) == 12
    assert all("1f6" in name for name in dataset.names) or make is make_parquet
    assert check_data(options(path)).count == 12


def test_every_registered_format_claims_its_own_extensions() -> None:
    suffixes = [suffix for data_format in FORMATS.values() for suffix in data_format.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


def test_include_reaches_into_archives(tmp_path: Path) -> None:
    file = make_zip(faces(tmp_path / "faces"), tmp_path)
    assert load_dataset(options(file, include="1f60[0-2].png"), tmp_path / "cache").images.shape[0] == 3


def test_suffix(tmp_path: Path) -> None:
    for name in ("a.TAR.GZ", "b.c.PNG", "tar.gz", "plain"):
        (tmp_path / name).touch()
    assert [file.suffix for file in list_files(str(tmp_path))] == [".tar.gz", ".png", "", ".gz"]


def test_broken_archive_is_named(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    for file in (
        make_zip(folder, tmp_path),
        make_tar(folder, tmp_path),
        make_plain_tar(folder, tmp_path),
        make_parquet(folder, tmp_path),
    ):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(DataError, match=f"{file.name} cannot be read"):
            load_dataset(options(file), tmp_path / "cache")
        file.write_bytes(b"")
        with pytest.raises(DataError, match=f"{file.name} cannot be read"):
            load_dataset(options(file), tmp_path / "cache")


def test_damaged_member_is_named(tmp_path: Path) -> None:
    folder = faces(tmp_path / "faces")
    picture = (folder / "1f603.png").read_bytes()
    file = tmp_path / "stored.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(folder.iterdir()):
            archive.write(member, member.name)
    file.write_bytes(file.read_bytes().replace(picture[50:90], bytes(40)))
    with pytest.raises(DataError, match=r"1 of 12 pictures(.|\n)*1f603\.png: cannot be read: Bad CRC-32"):
        load_dataset(options(file), tmp_path / "cache")


def test_links_inside_a_tar_are_not_followed(tmp_path: Path) -> None:
    file = tmp_path / "links.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(faces(tmp_path / "faces", 1) / "1f600.png", "good.png")
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link, io.BytesIO())
    assert load_dataset(options(file), tmp_path / "cache").names == ("good.png",)


def write(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_columns(tmp_path: Path) -> None:
    data = (faces(tmp_path / "faces", 1) / "1f600.png").read_bytes()
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"no column of image bytes, only text \(string\)"):
        load_dataset(options(write(tmp_path / "text.parquet", {"text": ["x"]})), cache)

    two = write(tmp_path / "two.parquet", {"before": [data], "after": [data], "n": [1]})
    with pytest.raises(DataError, match="set `column` to one of before, after"):
        load_dataset(options(two), cache)
    assert load_dataset(options(two, column="after"), cache).names == ("two.parquet#0",)
    with pytest.raises(DataError, match="unknown column 'aftr'; did you mean 'after'"):
        load_dataset(options(two, column="aftr"), cache)
    with pytest.raises(DataError, match="column 'n' is int64, not image bytes"):
        load_dataset(options(two, column="n"), cache)


def test_parquet_row_without_bytes_is_named(tmp_path: Path) -> None:
    data = (faces(tmp_path / "faces", 1) / "1f600.png").read_bytes()
    rows = [{"bytes": data, "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    file = write(tmp_path / "rows.parquet", {"image": rows})
    dataset = load_dataset(options(file, on_bad_image="skip"), tmp_path / "cache")
    assert dataset.names == ("rows.parquet#0:a.png",)
    assert [name for name, _ in dataset.skipped] == ["rows.parquet#1:b.png", "rows.parquet#2"]
    assert all("no image bytes" in reason for _, reason in dataset.skipped)
