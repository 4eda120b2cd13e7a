"""One driver a sweep: a lease in the sweep's folder, renewed while its holder lives.

Works where the folder is shared, with nothing but atomic link and rename. A holder on this machine that has died is known at
once, whatever killed it; one elsewhere when its lease has not been renewed for a while, by this machine's clock alone.
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
    renewed: int = 0  # how often

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
        self.lost: str | None = None  # who has taken the sweep over, if anybody has
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        renewed = 0
        while not self._ended.wait(RENEW_EVERY_S):
            try:
                now = _read(self._file)
                if now is None or now.token != self._holder.token:
                    self.lost = str(now or "somebody who has deleted the lease")
                    return
                renewed += 1
                _replace(self._file, Holder(**asdict(self._holder) | {"renewed": renewed}))
            except OSError:
                continue  # the storage is away; what the sweep writes waits for it too

    def release(self) -> None:
        """Gives the sweep free."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
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
    while not _create(file, holder):
        other = _read(file)
        if other is None:
            continue  # given free meanwhile
        if not take_over and not (_is_stale(file, other, say) if other.has_died is None else other.has_died):
            raise HeldError(
                f"the sweep {file.parent} is being run by {other}: wait until that has ended, or stop it first. "
                f"If you are certain that it has gone: gansweep resume {file.parent} --take-over"
            )
        _remove(file, other)
    lease = Lease(file, holder)
    try:
        yield lease
    finally:
        lease.release()


def _is_stale(file: Path, other: Holder, say: Callable[[str], None]) -> bool:
    """Whether a holder elsewhere has stopped renewing. Waits to see, by our own clock: two machines' clocks differ."""
    say(f"the sweep was last run by {other}: waiting {STALE_AFTER_S:g} s to see whether that still lives")
    until = time.monotonic() + STALE_AFTER_S
    while time.monotonic() < until:
        time.sleep(0.5)
        now = _read(file)
        if now is None or now.token != other.token:
            return False
        if now.renewed != other.renewed:
            return False
    return True


def _create(file: Path, holder: Holder) -> bool:
    """Makes the lease unless there is one: link fails where the name is taken, on NFS too."""
    part = file.with_name(f"{file.name}.{holder.token}.part")
    part.write_text(json.dumps(asdict(holder)))
    try:
        os.link(part, file)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _replace(file: Path, holder: Holder) -> None:
    part = file.with_name(f"{file.name}.{holder.token}.part")
    part.write_text(json.dumps(asdict(holder)))
    os.replace(part, file)


def _remove(file: Path, holder: Holder) -> None:
    """Removes the lease if it is still this holder's."""
    aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}.old")
    try:
        os.rename(file, aside)
    except FileNotFoundError:
        return  # somebody else was faster
    now = _read(aside)
    if now is not None and now.token != holder.token:
        with suppress(FileExistsError):
            os.link(aside, file)  # it was not: back with it
    aside.unlink()


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


def _began(pid: int) -> float | None:
    """When a process of this machine began, in ticks since the boot; None when there is none (a zombie is none)."""
    try:
        # The name, in parentheses, may hold spaces and parentheses of its own.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])
