"""Whose fault an exception in a trial is: the machine's, or the configuration's.

The third kind of failure, training that is not finite, saturated or collapsed, raises nothing: it is a trial's ``problem``
(`trainables.guards`). What follows from each kind is in docs/reliability.md.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

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


def insist(action: Callable[[], object], patience_s: float = 60.0, every_s: float = 1.0) -> str | None:
    """Does ``action``, again and again for a while where the storage refuses.

    Returns:
        For how long it refused, and why, such as "6 s: [Errno 28] No space left on device"; None where it did not.

    Raises:
        OSError: the storage still refuses after ``patience_s``, or for a reason that will not pass.
    """
    began, refused = time.monotonic(), ""
    while True:
        try:
            action()
        except OSError as error:
            if fault_of(error) == CONFIGURATION or time.monotonic() > began + patience_s:
                raise
            refused = str(error)
            time.sleep(every_s)
        else:
            return f"{time.monotonic() - began:.0f} s: {refused}" if refused else None
