"""Whose fault an exception is; and how long a worker insists on writing."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from trainables.faults import CONFIGURATION, INFRASTRUCTURE, fault_of, insist


def raised(action: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what is asked
        action()  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize("name", ["ENOSPC", "EIO", "EROFS", "ESTALE", "EDQUOT", "ENOTCONN"])
def test_a_storage_that_refuses_is_infrastructure(name: str) -> None:
    assert fault_of(OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "/shared/x")) == INFRASTRUCTURE


def test_a_file_that_is_not_there_is_the_configurations_fault(tmp_path: Path) -> None:
    assert fault_of(raised((tmp_path / "none").read_bytes)) == CONFIGURATION
    assert fault_of(raised(tmp_path.read_bytes)) == CONFIGURATION


def test_memory_that_does_not_suffice_is_the_configurations_fault() -> None:
    assert fault_of(raised(lambda: torch.empty(2**60))) == CONFIGURATION
    assert fault_of(raised(lambda: bytearray(2**60))) == CONFIGURATION
    assert fault_of(torch.OutOfMemoryError("CUDA out of memory")) == CONFIGURATION


def test_a_gpu_that_errs_and_a_broken_process_group_are_infrastructure() -> None:
    assert fault_of(torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")) == INFRASTRUCTURE
    assert fault_of(dist.DistBackendError("NCCL error")) == INFRASTRUCTURE
    second = timedelta(seconds=1)
    assert fault_of(raised(lambda: dist.TCPStore("127.0.0.1", 1, is_master=False, timeout=second))) == INFRASTRUCTURE


def test_any_other_exception_is_the_configurations_fault() -> None:
    assert fault_of(raised(lambda: torch.zeros(2) @ torch.zeros(3))) == CONFIGURATION
    assert fault_of(ValueError("frozen_depth must be at most 5")) == CONFIGURATION


def test_a_worker_insists_while_the_storage_may_come_back() -> None:
    answers = iter([OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), None])

    def write() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    assert insist(write, every_s=0.001) == "0 s: [Errno 5] broken"
    assert next(answers, "all were asked for") == "all were asked for"
    assert insist(lambda: None) is None


def test_a_worker_gives_up_after_its_patience_and_at_once_where_waiting_will_not_help(tmp_path: Path) -> None:
    calls = []

    def full() -> None:
        calls.append(1)
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        insist(full, patience_s=0.05, every_s=0.01)
    assert len(calls) > 2
    with pytest.raises(IsADirectoryError):
        insist(lambda: tmp_path.write_bytes(b""))
