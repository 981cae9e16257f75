"""One writer at a time: a lock file that names its holder.

The file's content decides who holds it. The kernel's lock on it is taken only while the
content is read and written, so it does not outlive the holder in a forked child, and a
file system without kernel locks loses nothing but that instant.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from ..errors import CacheError

UNKNOWN = ""
"""Birth of a process where the system does not tell."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock."""

    pid: int
    host: str
    start: str
    """When it took the lock, UTC."""
    birth: str
    """What tells it from a later process with the same pid; may be `UNKNOWN`."""

    def is_alive(self) -> bool:
        """Whether it still runs; a process on another host is taken to."""
        if self.host != socket.gethostname():
            return True
        birth = birth_of(self.pid)
        if birth is None:
            return False
        return UNKNOWN in (birth, self.birth) or birth == self.birth

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.start}"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock file at `path`; CacheError where a living process holds it."""
    _take(path)
    try:
        yield
    finally:
        _release(path)


def holder_of(path: Path) -> Holder | None:
    """The living process that holds the lock file at `path`, if any."""
    try:
        holder = _read(path.read_bytes())
    except OSError:
        return None
    return holder if holder and holder.is_alive() else None


def birth_of(pid: int) -> str | None:
    """Boot and clock tick at which a process began; None where it does not run."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return UNKNOWN
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {ticks}"


def _take(path: Path) -> None:
    with _opened(path) as file:
        holder = _read(os.pread(file, 4096, 0))
        if holder and holder.is_alive():
            raise _refusal(path, holder)
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(asdict(_self())).encode(), 0)
        except OSError:
            path.unlink()
            raise


def _release(path: Path) -> None:
    with suppress(OSError), _opened(path) as file:
        holder = _read(os.pread(file, 4096, 0))
        if holder and holder.pid == os.getpid() and holder.host == socket.gethostname():
            path.unlink()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The lock file, with the kernel's lock on it while the body runs."""
    file = _open_current(path)
    try:
        yield file
    finally:
        os.close(file)


def _open_current(path: Path) -> int:
    """Opens and locks the file that bears the name; one unlinked meanwhile is let go."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _read(content: bytes) -> Holder | None:
    """The holder a lock file names; None where its writer was killed while writing."""
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _self() -> Holder:
    start = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(os.getpid(), socket.gethostname(), start, birth_of(os.getpid()) or UNKNOWN)


def _refusal(path: Path, holder: Holder) -> CacheError:
    written = path.with_suffix("")
    hint = f"wait for it, or stop it: kill {holder.pid}"
    if holder.host != socket.gethostname():
        hint = f"wait for it, or, if it runs no more: rm {quote(str(path))}"
    return CacheError(f"{written} is being written by {holder}.", hint)
