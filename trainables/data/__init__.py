"""Pictures: found in a folder, archive or Parquet file, decoded once into a packed cache, served as batches."""

from __future__ import annotations

from trainables.data.check import DataReport, check_data
from trainables.data.dataset import ImageDataset, load_dataset
from trainables.data.formats import FORMATS
from trainables.data.native import NativeDataset
from trainables.data.options import DataError, DataOptions

__all__ = ["FORMATS", "DataError", "DataOptions", "DataReport", "ImageDataset", "NativeDataset", "check_data", "load_dataset"]
