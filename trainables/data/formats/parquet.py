"""Parquet files with a column of image bytes, plain or as Hugging Face writes it (a struct of ``bytes`` and ``path``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data.files import SourceFile
from trainables.data.formats.base import DataFormat, Picture, Wanted
from trainables.data.options import DataError
from trainables.registry import unknown_name

_ROWS = 8  # at once in memory, and pictures may have megabytes
_USUAL_NAMES = ("image", "img", "picture", "jpg", "png")


def _pictures(files: list[SourceFile], wanted: Wanted, column: str | None) -> Iterator[Picture]:
    for file in files:
        try:
            with file.open() as stream, pq.ParquetFile(stream) as table:
                name = _image_column(table.schema_arrow, column, file.name)
                row = 0
                for batch in table.iter_batches(batch_size=_ROWS, columns=[name]):
                    for value in batch.column(0).to_pylist():
                        picture = _picture(value, f"{file.name}#{row}")
                        row += 1
                        if wanted(picture.name):
                            yield picture
        except DataError:
            raise
        except Exception as error:  # whatever a file system or codec raises
            raise DataError(f"Parquet file {file.name} cannot be read: {str(error) or type(error).__name__}") from error


def _picture(value: Any, fallback: str) -> Picture:
    path, data = (value.get("path"), value["bytes"]) if isinstance(value, dict) else (None, value)
    # The row keeps the name unique: nothing stops two rows from having the same path.
    name = f"{fallback}:{path}" if path else fallback
    return Picture(name, partial(_bytes, data))


def _bytes(data: bytes | None) -> bytes:
    if data is None:
        raise ValueError("the row holds no image bytes")
    return data


def _image_column(schema: pa.Schema, column: str | None, file: str) -> str:
    if column is not None:
        if column not in schema.names:
            raise DataError(f"Parquet file {file}: {unknown_name('column', column, schema.names)}")
        if not _holds_images(schema.field(column).type):
            raise DataError(f"Parquet file {file}: column {column!r} is {schema.field(column).type}, not image bytes")
        return column
    found = [field.name for field in schema if _holds_images(field.type)]
    usual = [name for name in _USUAL_NAMES if name in found]
    if len(found) == 1 or usual:
        return (usual or found)[0]
    if found:
        raise DataError(f"Parquet file {file} has several columns of bytes: set `column` to one of {', '.join(found)}")
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise DataError(f"Parquet file {file} has no column of image bytes, only {columns}")


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_images(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


PARQUET = DataFormat(suffixes=(".parquet", ".pq"), pictures=_pictures)
