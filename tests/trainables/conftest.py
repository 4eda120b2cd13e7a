from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainables.small import faces
from trainables.data import ImageDataset


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Small networks on a machine shared by other tests: several threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for packed pictures."""
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="session")
def dataset(cache: Path) -> ImageDataset:
    """Some real emoji."""
    return faces(cache)
