"""The user's cache folder: files in it are written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

from ..errors import DataError
from ..files import PARTIAL, expanded, is_held, open_regular, write_atomically

LEFT_BEHIND_SECONDS = {False: 60, None: 86_400}
"""Since the last write to an unfinished file that nobody holds, or of which that is not known."""


def cache_folder() -> Path:
    """The folder for decoded images, made if needed: LTKD_CACHE_DIR, or the system's.

    DataError where it cannot be made.
    """
    chosen = os.environ.get("LTKD_CACHE_DIR") or platformdirs.user_cache_dir("ltkd", False)
    folder = expanded(chosen)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error) from error
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes a small UTF-8 file; DataError where the folder does not allow it."""
    try:
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise cannot_write(error) from error


def remembered(name: str, count: int, find: Callable[[], list[float]]) -> list[float]:
    """`count` numbers found once by `find` and read from the cache folder ever after.

    They are found anew where the file is not what was written.
    """
    path = cache_folder() / f"{name}.json"
    known = _numbers(path, count)
    if known is None:
        known = find()
        numbers = json.dumps(known)
        write_text(path, json.dumps({"numbers": numbers, "sha256": _sha256(numbers)}))
    return known


def remove_left_behind() -> None:
    """Deletes unfinished files of processes that were killed."""
    for partial in cache_folder().glob(f"*{PARTIAL}"):
        if _age(partial) > LEFT_BEHIND_SECONDS.get(is_held(partial), math.inf):
            partial.unlink(missing_ok=True)


def cannot_write(error: OSError) -> DataError:
    """The DataError for a cache folder that refuses a write."""
    place = f" {error.filename}" if error.filename else ""
    return DataError(
        f"The cache folder{place} cannot be written: {error.strerror or error}.",
        "export LTKD_CACHE_DIR=/a/folder/with/space",
    )


def _numbers(path: Path, count: int) -> list[float] | None:
    """The numbers in a file; None where it is not what `remembered` wrote."""
    try:
        with os.fdopen(open_regular(path), encoding="utf-8") as file:
            kept = json.load(file)
        numbers = json.loads(kept["numbers"]) if kept["sha256"] == _sha256(kept["numbers"]) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    right = isinstance(numbers, list) and len(numbers) == count
    return numbers if right and all(_is_number(number) for number in numbers) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0  # another process has just finished or removed it
