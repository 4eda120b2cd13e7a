"""The benchmark for GPUs goes through its code on a CPU too, and says that it is one."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import gpu


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA it is the benchmark itself, which takes minutes")
def test_without_a_gpu_it_says_so_and_runs_at_a_small_size(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--modes", "TF32", "--workers", "1", "2"])
    said = capsys.readouterr().out
    assert said.startswith("no CUDA device is here: the same code at a small size on the CPU")
    rows = [line.split("|") for line in said.splitlines() if line.startswith("| 16 |")]
    assert [row[2:5] for row in rows] == [[" TF32 ", " 1 ", " 4 "], [" TF32 ", " 2 ", " 8 "]]
    for row in rows:
        ours, bare, ratio = map(float, row[5:8])
        assert ours > 0
        assert ratio == pytest.approx(ours / bare, rel=0.1)
    assert "d_step" in rows[0][-2]
