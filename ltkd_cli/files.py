"""Files that are whole or not there: atomic writes, locks, checksums, free space."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import filelock

PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet."""


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
