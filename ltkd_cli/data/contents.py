"""SHA-256 of every image file, computed once and remembered while the file stays as it is.

A hash is kept with the file's size, inode, time of modification and time of change (ctime). The
kernel sets the last of these at every write, rename or change of attributes, and no program can
set it back. So an edit is noticed even where size and modification time are what they were. What
is not noticed: bytes that change below the file system (a dying disk), and a clock that was set
back between two edits. A file that changed less than `SETTLED_NS` before it was read is hashed
again next time, because a second edit could bear the same time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import open_regular, write_atomically
from .failures import Failure, failure, unreadable
from .store import cache_folder

Stamps = NDArray[np.int64]
"""[N, 4]: size in bytes, inode, time of modification and time of change in nanoseconds."""

Contents = NDArray[np.uint8]
"""[N, 32]: the SHA-256 of every image as it is stored."""

Progress = Callable[[int, int], None]
"""Called with the number of images done so far and the number to do."""

SETTLED_NS = 2_000_000_000
"""Age of the last change from which on a hash is remembered; clocks tick more often than that."""

MAGIC = b"ltkd contents 1\n"
AT_ONCE = 64
"""Files hashed by one thread between two reports."""

Hash = Callable[[int], bytes | Failure]
"""SHA-256, 32 bytes, of one image, or why it cannot be read."""


def stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    """A row of `Stamps` of a file."""
    inode = found.st_ino - 2**63  # unsigned on disk
    return found.st_size, inode, found.st_mtime_ns, found.st_ctime_ns


def contents(
    names: Iterable[str],
    stamps: Stamps,
    hash_of: Hash,
    threads: int = 1,
    progress: Progress | None = None,
) -> Contents:
    """The hash of every image, from the table of these names or by `hash_of` where it must be.

    `names` are the absolute paths in row order; `progress` is called for those that are read.
    DataError that names every image that cannot be read.
    """
    path = _table_path(names)
    known = _read(path, len(stamps))
    hashes, settled = known if known else (np.empty((len(stamps), 32), np.uint8), None)
    rows = np.arange(len(stamps)) if settled is None else np.flatnonzero((settled != stamps).any(1))
    if not len(rows):
        return hashes
    began = time.time_ns()
    hashes = hashes.copy()
    hashes[rows] = _computed(rows.tolist(), hash_of, threads, progress)
    _write(path, np.where(stamps[:, 3:] < began - SETTLED_NS, stamps, 0), hashes)
    return hashes


def sha256_at(path: str) -> bytes | Failure:
    """SHA-256 of a file's bytes, 32 bytes, or why they cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a million of them
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        return failure(path, error)


def _computed(
    rows: Sequence[int], hash_of: Hash, threads: int, progress: Progress | None
) -> Contents:
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    found: list[bytes | Failure] = []
    with ThreadPoolExecutor(threads) as pool:
        for part in pool.map(lambda part: [hash_of(row) for row in part], parts):
            found += part
            if progress is not None:
                progress(len(found), len(rows))
    if failures := [each for each in found if isinstance(each, Failure)]:
        raise unreadable(failures, len(rows))
    whole = b"".join(each for each in found if not isinstance(each, Failure))
    return np.frombuffer(whole, np.uint8).reshape(-1, 32)


def _table_path(names: Iterable[str]) -> Path:
    joined = "\0".join(names).encode(errors="surrogateescape")
    return cache_folder() / f"contents-{hashlib.sha256(joined).hexdigest()}.table"


def _read(path: Path, count: int) -> tuple[Contents, Stamps] | None:
    """Hashes and stamps of a table; None where there is none, or not the one that was written."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read()
    except OSError:
        return None
    whole = len(MAGIC) + count * 64 + 32
    if len(data) != whole or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        return None
    stamps = np.frombuffer(data, "<i8", count * 4, len(MAGIC)).reshape(-1, 4)
    hashes = np.frombuffer(data, np.uint8, count * 32, len(MAGIC) + count * 32)
    return hashes.reshape(-1, 32), stamps


def _write(path: Path, stamps: Stamps, hashes: Contents) -> None:
    body = MAGIC + stamps.astype("<i8").tobytes() + hashes.tobytes()
    with suppress(OSError):  # then they are computed again next time
        write_atomically(path, body + hashlib.sha256(body).digest())
