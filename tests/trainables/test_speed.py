"""Which kernels a process takes, and that a trial leaves none of its own to the next."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from pydantic import ValidationError

from trainables.speed import SpeedOptions, apply_kernels, free_memory


@pytest.fixture(autouse=True)
def kernels_as_before() -> Iterator[None]:
    before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    cudnn, cuda, filled = torch.backends.cudnn, torch.backends.cuda, torch.utils.deterministic.fill_uninitialized_memory
    flags = (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cuda.matmul.allow_tf32)
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, cuda.matmul.allow_tf32 = flags
    torch.utils.deterministic.fill_uninitialized_memory = filled
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    if before is not None:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = before


def test_fast_after_exact_is_fast_and_exact_after_fast_exact() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    for kernels in ("exact", "fast", "exact"):
        apply_kernels(SpeedOptions(kernels=kernels))  # type: ignore[arg-type]
        exact = kernels == "exact"
        assert torch.are_deterministic_algorithms_enabled() == exact
        assert cudnn.deterministic == exact
        assert cudnn.benchmark == cudnn.allow_tf32 == matmul.allow_tf32 == (not exact)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")


def test_the_default_is_fast_and_a_wrong_name_is_told() -> None:
    assert SpeedOptions().kernels == "fast"
    with pytest.raises(ValidationError, match=r"'fast' or 'exact'"):
        SpeedOptions(kernels="slow")  # type: ignore[arg-type]


def test_nothing_need_be_put_on_a_cpu() -> None:
    assert free_memory(torch.device("cpu")) == 0
