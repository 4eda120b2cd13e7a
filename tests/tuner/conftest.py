from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainables.data.pictures import faces
from tests.tuner.command import Command, ReachedRay


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a folder with twelve good pictures. It never starts Ray: where it would, it raises `ReachedRay`."""
    import ray

    def reached(*args: Any, **options: Any) -> Any:
        raise ReachedRay

    monkeypatch.setattr(ray, "init", reached)
    monkeypatch.setenv("GANSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    faces(tmp_path / "images")
    return Command(tmp_path)
