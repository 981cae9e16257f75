"""Files that are whole or not there: atomic writes, locks, checksums, free space."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import filelock

PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet."""


SECONDS_BETWEEN_TRIES = 0.02
"""Of a lock that another process holds."""


class Locked(Exception):
    """Another process holds the lock; the message says which, where it is known."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes a file (text as UTF-8) so that a kill at any moment leaves the old one or the new."""
    with replacing(path) as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, which takes the name `path` at the end of the body; on an error nothing changes.

    Its temporary name is a random one in the same folder, and is never followed where it is a
    link, so nothing that somebody else put into the folder is overwritten.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o666), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left of `replacing`, from a folder that nobody else writes."""
    for path in folder.iterdir():
        if re.fullmatch(r"\.[0-9a-f]{16}" + re.escape(PARTIAL), path.name):
            path.unlink(missing_ok=True)


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a file; OSError where it is a folder, a pipe or a device, or above `limit`.

    Opening a pipe would wait for its other end, and a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if limit is not None and found.st_size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Puts the folder's own entries (creations, renames) on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # a file system that cannot
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_space(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


@contextmanager
def locked(path: Path, seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock file at `path`, waiting for it up to `seconds`; Locked where it is taken.

    The kernel's lock counts, so a killed process leaves none behind; the file's content only
    names the holder. It is removed at the end.
    """
    lock = filelock.FileLock(path, timeout=seconds, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise Locked(holder_of(path)) from None
    try:
        with suppress(OSError):
            start = datetime.now(UTC).isoformat(timespec="seconds")
            path.write_text(
                json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "start": start})
            )
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()


def holder_of(path: Path) -> str:
    """The process that a lock file names, in words."""
    try:
        named = json.loads(path.read_text())
        pid, host, start = int(named["pid"]), str(named["host"])[:60], str(named["start"])[:40]
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    return f"process {pid} on {host} since {start}"


@contextmanager
def folder_locked(folder: Path, seconds: float = 0.0, *, shared: bool = False) -> Iterator[bool]:
    """Holds the kernel's lock on a folder itself; Locked where it is not to be had in `seconds`.

    Unlike a lock file it leaves nothing behind in any case, and can be asked for in a folder
    that may only be read. Yields False on a file system without such locks, where nothing is
    held. With `shared`, only those who want it alone are kept away.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        deadline = time.monotonic() + seconds
        while (held := _try_lock(descriptor, kind)) is None:
            if time.monotonic() >= deadline:
                raise Locked(None)  # nobody is named
            time.sleep(SECONDS_BETWEEN_TRIES)
        yield held
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool | None:
    """True where the lock is held now, None where another has it, False where there are none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True
