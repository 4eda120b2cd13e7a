"""What is written of the finalists. How they are scored, one of them damaged, is in tests/tuner/engine/test_sweep.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.tuner.sweeps import small_spec
from trainables.config import TrialConfig
from trainables.generators import GENERATORS, Frame
from trainables.source import save_source
from tuner.finish.finalists import SOURCE, _source_generator, best_finalist, write_finalists
from tuner.records.paths import SweepPaths

METRIC = "fid[efficientnet_lite1,32px-bilinear,n=16]"


def test_what_is_not_finite_or_failed_comes_last(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, finalists={"count": 4, "metric": METRIC})
    paths = SweepPaths(spec.root)
    values = {0: {METRIC: math.nan}, 1: {METRIC: 30.0}, 2: "OSError: gone", 3: {METRIC: 20.0}, SOURCE: {METRIC: math.inf}}
    write_finalists(spec, paths, values)
    data = json.loads(paths.storage.read_bytes(paths.FINALISTS), parse_constant=pytest.fail)
    assert [row["trial"] for row in data["finalists"]] == [3, 1, 0, 2]
    assert data["finalists"][3] == {"trial": 2, "value": None, "problem": "OSError: gone"}
    assert data["source"] == {METRIC: None}
    assert best_finalist(paths) == (3, METRIC, 20.0)


def test_none_that_can_be_scored(tmp_path: Path) -> None:
    spec = small_spec(tmp_path, finalists={"count": 1, "metric": METRIC})
    paths = SweepPaths(spec.root)
    write_finalists(spec, paths, {0: "why"})
    assert best_finalist(paths) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"finalists": [{"trial": 1}]}', b'{"finalists": [3]}', b"\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    paths = SweepPaths(tmp_path)
    paths.storage.write_bytes(paths.FINALISTS, content)
    with pytest.raises(ValueError, match=r"finalists\.json is damaged"):
        best_finalist(paths)


@pytest.mark.parametrize(("side", "scored"), [(16, True), (32, True), (8, False)])
def test_the_source_is_scored_as_it_is_whatever_a_trial_adds_to_it(tmp_path: Path, side: int, scored: bool) -> None:
    """At the trial's size; a smaller source lacks blocks, and makes no pictures of that size."""
    cls, widths = GENERATORS["stylegan2"], {"channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4, "mapping_layers": 1}
    source = cls(cls.Options(**widths), Frame(side), pytest.fail)
    file = tmp_path / "source.safetensors"
    said = {"generator": cls.Options(**widths).model_dump(), "resolution": side}
    save_source(file, source, {}, said, torch.float32)
    config = TrialConfig(
        source=str(file),
        source_fit="partial",
        resolution=16,
        kimg=1,
        generator={"adapt": "scale_shift", "miner_layers": 1},
        evaluation={"metric": METRIC},
    )
    found = _source_generator(config)
    assert (found is not None) == scored
    if found is not None:
        z = torch.randn(2, 4)
        with torch.no_grad():
            small = cls(cls.Options(**widths), Frame(16), pytest.fail)
            small.load_state_dict({name: source.state_dict()[name] for name in small.state_dict()})
            assert torch.equal(found(z), small(z))
