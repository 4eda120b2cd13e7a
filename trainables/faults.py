"""Whose fault an exception in a trial is: the machine's, or the configuration's.

The third kind of failure, training that is not finite, saturated or collapsed, raises nothing: it is a trial's ``problem``
(`trainables.guards`). What follows from each kind is in docs/reliability.md.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

INFRASTRUCTURE, CONFIGURATION = "infrastructure", "configuration"

# What a disk, a mount or the network says when it is full, read-only, gone or broken for now. Not: no such file, is a directory,
# which come again on every machine.
_STORAGE = {
    getattr(errno, name)
    for name in (
        "EIO", "ENOSPC", "EDQUOT", "EROFS", "ESTALE", "ENODEV", "ENXIO", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH",
        "ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EREMOTEIO", "EAGAIN", "EBUSY",
        "ENFILE", "EMFILE",
    )
    if hasattr(errno, name)
}  # fmt: skip


def fault_of(error: BaseException) -> str:
    """INFRASTRUCTURE or CONFIGURATION.

    Memory that does not suffice is the configuration's: the same trial would run out of it again, on any machine of the sweep.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return CONFIGURATION
    if isinstance(error, dist.DistError | torch.AcceleratorError):  # a process group or NCCL; a GPU that errs
        return INFRASTRUCTURE
    if isinstance(error, ImportError | PermissionError):  # a node that lacks a package, or sees a mount as somebody else
        return INFRASTRUCTURE
    if isinstance(error, ConnectionError | TimeoutError) or (isinstance(error, OSError) and error.errno in _STORAGE):
        return INFRASTRUCTURE
    return CONFIGURATION


def insist(action: Callable[[], T], patience_s: float = 60.0, every_s: float = 1.0) -> T:
    """What ``action`` returns, tried again for a while where the storage refuses.

    Raises:
        OSError: the storage still refuses after ``patience_s``, or for a reason that will not pass.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            return action()
        except OSError as error:
            if fault_of(error) == CONFIGURATION or time.monotonic() > until:
                raise
        time.sleep(every_s)
