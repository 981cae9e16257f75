"""Where an export writes: the names of its files, and what may stand in the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from ..errors import CacheError, command
from ..files import free_space

FULL = {
    errno.ENOSPC: "free some space and give the same command again; it goes on where it stopped",
    errno.EDQUOT: "free some of your quota and give the same command again; it goes on",
    errno.EFBIG: "ulimit -f unlimited",
}
"""Ways out of a disk that takes no more bytes."""


def partial_of(path: Path) -> Path:
    """Name of a cache while it is written."""
    return path.with_name(f"{path.name}.partial")


def draft_of(path: Path) -> Path:
    """Name of a partial file while it is made."""
    return path.with_name(f".{path.name}.ltkd-draft")


def lock_of(path: Path) -> Path:
    """Name of the lock of a cache while it is written."""
    return path.with_name(f"{path.name}.partial.lock")


@contextmanager
def writing(path: Path, needed: Callable[[], int]) -> Iterator[None]:
    """Turns an OSError inside into a CacheError about `path`; `needed` says bytes to come."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f" ({error.filename})"
        problem = f"{path} cannot be written: {error.strerror or error}{where}"
        hint = f"check the folder: ls -ld {quote(str(path.parent))}"
        if error.errno in FULL:
            problem += f"; {needed():,} more bytes are needed"
            problem += f" and {free_space(path.parent):,} are free"
            hint = FULL[error.errno]
        elif error.errno == errno.ENAMETOOLONG:
            hint = "--output cache.h5"
        raise CacheError(f"{problem}.", hint) from error


def require_room(path: Path, needed: int) -> None:
    """Raises CacheError where the disk of `path` has fewer than `needed` bytes free."""
    free = free_space(path.parent)
    if free < needed:
        raise CacheError(
            f"{path} needs {needed:,} bytes, and {free:,} are free on its disk.",
            "free some space, or give another --output",
        )


def refuse_existing(path: Path, *, replace: bool) -> None:
    """Raises CacheError where a file has the name `path`, or, with `replace`, something else."""
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise CacheError(f"{path} exists, and is no file.", "--output cache.h5")
    if not replace:
        raise CacheError(
            f"{path} exists already; replace it, or give another --output.",
            command("export-logits", "--output", path, "--force"),
        )
