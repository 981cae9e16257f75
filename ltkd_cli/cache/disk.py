"""Writing that is whole or a clear error: positioned writes, fsync, full disks."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from ..errors import CacheError

HINTS = {
    errno.ENOSPC: "free some space and give the same command again; it goes on where it stopped",
    errno.EDQUOT: "free some of your quota and give the same command again; it goes on",
    errno.EFBIG: "ulimit -f unlimited",
}
"""Ways out of a disk that takes no more bytes."""


@contextmanager
def writing(path: Path, needed: Callable[[], int]) -> Iterator[None]:
    """Turns an OSError inside into a CacheError about `path`; `needed` says bytes to come."""
    try:
        yield
    except OSError as error:
        reason = _reason(error, path)
        if error.errno not in HINTS:
            raise CacheError(
                f"{path} cannot be written: {reason}.",
                f"check the folder: ls -ld {quote(str(path.parent))}",
            ) from error
        raise CacheError(
            f"{path} cannot be written: {reason}; {needed():,} more bytes are needed"
            f" and {free(path.parent):,} are free.",
            HINTS[error.errno],
        ) from error


def _reason(error: OSError, path: Path) -> str:
    where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
    return (os.strerror(error.errno) if error.errno else str(error)) + where


def free(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


def require_room(path: Path, needed: int) -> None:
    """Raises CacheError where the disk of `path` has fewer than `needed` bytes free."""
    there = free(path.parent)
    if there < needed:
        raise CacheError(
            f"{path} needs {needed:,} bytes, and {there:,} are free on its disk.",
            "free some space, or give another --output",
        )


def write_all(file: int, data: bytes | memoryview, offset: int) -> None:
    """Writes every byte at its place; a disk that takes only some of them is an OSError."""
    rest = memoryview(data).cast("B")
    while len(rest):
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Puts the folder's own entries (creations, renames) on the disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
