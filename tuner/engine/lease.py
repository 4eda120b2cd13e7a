"""One driver a sweep: a lease in the sweep's folder, renewed while its holder lives.

Works where the folder is shared. A holder on this machine that has died is known at once, whatever killed it; one elsewhere when
its lease has not been renewed for a while, by this machine's clock alone. Whoever comes looks, decides and writes under a file
lock, so that of several one gets it; the lock alone would not do, for a shared folder may keep that of a machine that is gone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

RENEW_EVERY_S = 5.0
STALE_AFTER_S = 20.0  # without a renewal


class HeldError(ValueError):
    """Another driver holds the sweep; the message says who, and what to do."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    token: str  # of this one holding
    host: str
    machine: str  # the host's boot and process namespace: within it a process id means something
    pid: int
    began: float  # when that process began, in the system's ticks: ids are used again
    since: float  # Unix time

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"

    @property
    def has_died(self) -> bool | None:
        """Whether its process is gone; None where that cannot be seen from here."""
        if self.machine != _machine():
            return None
        return _began(self.pid) != self.began


class Lease:
    """A sweep's folder, held. Made by `hold`."""

    def __init__(self, file: Path, holder: Holder) -> None:
        self._file, self._holder = file, holder
        self._ended = threading.Event()
        self._looked_at = _now()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> str | None:
        """Who has taken the sweep over, as far as is known; None while it is ours."""
        with suppress(OSError):
            self.is_ours()
        return self._lost

    def is_ours(self) -> bool:
        """Whether the sweep is still ours; to be asked before anything of it is written. OSError where nobody can see now."""
        if _now() - self._looked_at > 2 * RENEW_EVERY_S:
            # This process has slept, perhaps with its whole machine, and its thread has not looked since.
            self._look()
        return self._lost is None

    def _look(self) -> None:
        now = _read(self._file)
        if self._lost is None and not self._ended.is_set() and (now is None or now.token != self._holder.token):
            self._lost = str(now or "somebody who has deleted the lease")
        self._looked_at = _now()

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                self._look()
                if self._lost:
                    return
                os.utime(self._file)
            except OSError:
                continue  # the storage is away; what the sweep writes waits for it too

    def release(self) -> None:
        """Gives the sweep free."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError, HeldError), _alone(self._file):
            now = _read(self._file)
            if now is not None and now.token == self._holder.token:
                self._file.unlink()


@contextmanager
def hold(file: Path, *, take_over: bool = False, say: Callable[[str], None] = lambda text: None) -> Iterator[Lease]:
    """Holds the lease for the length of the block.

    Args:
        file: the lease, in the sweep's folder, which is made if need be.
        take_over: take it from whoever holds it. Two drivers would spoil the sweep, but the other one notices and ends.
        say: told what is waited for.

    Raises:
        HeldError: another driver holds it and lives, or may.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    holder = Holder(uuid.uuid4().hex, socket.gethostname(), _machine(), os.getpid(), _began(os.getpid()) or 0.0, time.time())
    with _alone(file):
        other = _read(file)
        gone = other.has_died if other is not None else None
        if other is not None and not take_over:
            if gone is None:
                gone = _is_stale(file, other, say)
            if not gone:
                raise HeldError(
                    f"the sweep {file.parent} is being run by {other}: wait until that has ended, or stop it first. "
                    f"If you are certain that it has gone: gansweep resume {file.parent} --take-over"
                )
        part = file.with_name(f"{file.name}.{holder.token}.part")
        part.write_text(json.dumps(asdict(holder)))
        os.replace(part, file)
    lease = Lease(file, holder)
    try:
        if other is not None and not gone:
            say(f"taken over from {other}: waiting {2 * RENEW_EVERY_S:g} s for it to notice, if it lives")
            time.sleep(2 * RENEW_EVERY_S)
        yield lease
    finally:
        lease.release()


def driver_of(file: Path) -> str | None:
    """Who runs a sweep, for people, by its lease; None where nobody does."""
    holder = _read(file)
    if holder is None or holder.has_died:
        return None
    if holder.has_died is None and time.time() - file.stat().st_mtime > STALE_AFTER_S:
        return f"{holder}, which has not been heard of for {time.time() - file.stat().st_mtime:.0f} s"
    return str(holder)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keeps others from looking at the lease and deciding what to do about it, for the length of the block."""
    lock = FileLock(file.with_name(f"{file.name}.lock"))
    try:
        lock.acquire(timeout=3 * STALE_AFTER_S)
    except Timeout:
        raise HeldError(f"somebody else has been about to run the sweep {file.parent} for a minute: {lock.lock_file}") from None
    try:
        yield
    finally:
        lock.release()


def _is_stale(file: Path, other: Holder, say: Callable[[str], None]) -> bool:
    """Whether a holder elsewhere has stopped renewing. Waits to see, by our own clock: two machines' clocks differ."""
    say(f"the sweep was last run by {other}: waiting {STALE_AFTER_S:g} s to see whether that still lives")
    before, until = file.stat().st_mtime_ns, time.monotonic() + STALE_AFTER_S
    while time.monotonic() < until:
        time.sleep(min(0.5, STALE_AFTER_S / 10))
        now = _read(file)
        if now is None:
            return True  # it has ended in good order
        if now.token != other.token or file.stat().st_mtime_ns != before:
            return False
    return True


def _read(file: Path) -> Holder | None:
    """The holder; None where there is no lease. One that cannot be read is nobody's we know."""
    try:
        return Holder(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Holder("", "an unknown host (the lease cannot be read)", "", 0, 0.0, file.stat().st_mtime)


def _machine() -> str:
    """This boot of this machine, and our space of process ids in it; "" where the system does not tell."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _now() -> float:
    """Seconds of a clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _began(pid: int) -> float | None:
    """When a process of this machine began, in ticks since the boot; None when there is none (a zombie is none)."""
    try:
        # The name, in parentheses, may hold spaces and parentheses of its own.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])
