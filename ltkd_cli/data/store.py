"""The user's cache folder: files in it are written whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs

from ..errors import DataError

LEFT_BEHIND_SECONDS = 86_400
"""Age at which an unfinished file is taken to belong to a process that was killed."""


def cache_folder() -> Path:
    """The folder for decoded images, made if needed: LTKD_CACHE_DIR, or the system's.

    DataError where it cannot be made.
    """
    chosen = os.environ.get("LTKD_CACHE_DIR") or platformdirs.user_cache_dir("ltkd", False)
    folder = Path(chosen).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(error) from error
    return folder


def write_whole(path: Path, fill: Callable[[Path], bool]) -> None:
    """Lets `fill` write a temporary file and gives it its name where `fill` returns True.

    Several processes may write one path at once; the last to finish wins.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        if fill(partial):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a small UTF-8 file; DataError where the folder does not allow it."""

    def fill(partial: Path) -> bool:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        return True

    try:
        write_whole(path, fill)
    except OSError as error:
        raise cannot_write(error) from error


def remembered(name: str, find: Callable[[], list[float]]) -> list[float]:
    """Numbers found once by `find` and read from the cache folder ever after."""
    path = cache_folder() / f"{name}.json"
    try:
        known: list[float] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = find()
        write_text(path, json.dumps(known))
    return known


def remove_left_behind() -> None:
    """Deletes unfinished files of processes that were killed more than a day ago."""
    for partial in cache_folder().glob("*.partial"):
        if _age(partial) > LEFT_BEHIND_SECONDS:
            partial.unlink(missing_ok=True)


def cannot_write(error: OSError) -> DataError:
    """The DataError for a cache folder that refuses a write."""
    place = error.filename or "the cache folder"
    return DataError(
        f"Decoded images cannot be written to {place}: {error.strerror or error}.",
        "export LTKD_CACHE_DIR=/a/folder/with/space",
    )


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0  # another process has just finished or removed it
