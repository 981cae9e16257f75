"""Fills a cache file, survives being killed at any moment, and makes it whole at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheDamaged, CacheError, CacheMismatch
from . import container, match
from .attributes import decode, encode, software_versions
from .container import Container
from .disk import require_room, sync_folder, write_all, writing
from .layout import FORMAT, LIMIT, Layout
from .lock import held
from .pack import checksums, damaged, first_unfit, pack

SYNC_SECONDS = 2.0
"""Work that a crash of the machine may cost at most, in seconds."""


class CacheWriter:
    """Writes the cache `path`, under the name `path`.partial until `finish`.

    A context manager. Entering takes the lock, then makes the partial file or takes up the
    one that is there; leaving puts on the disk what was written, and gives the lock back.
    Entering raises CacheError where `path` exists (unless `replace`), another process
    writes it, or the disk is too small; CacheMismatch where a partial file was begun with
    other settings. Any method raises CacheError where the disk takes no more bytes; the
    partial file stays and is taken up by the next writer.

    `attributes` are JSON-able; `fingerprint`, `class_names` and `class_counts` must be among
    them. Format, time and versions are added. With `join`, the process takes no lock and
    writes into a partial file whose lock another process of the same export holds: several
    processes fill one file, each its own entries, and the holder finishes after all others
    have left or flushed.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        attributes: Mapping[str, Any],
        *,
        replace: bool = False,
        join: bool = False,
    ) -> None:
        self.path = path
        self.partial = partial_of(path)
        self.layout = layout
        self.attributes = _completed(layout, attributes)
        self._replace = replace
        self._join = join
        self._written: list[tuple[int, int]] = []
        self._synced = time.monotonic()
        self._stack = ExitStack()
        self._opened: tuple[int, Container] | None = None

    def __enter__(self) -> Self:
        self._refuse_existing()
        with ExitStack() as stack, writing(self.partial, self._bytes_missing):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self._join:
                stack.enter_context(held(lock_of(self.path)))
            found = self._resumable() or self._create()
            file = os.open(self.partial, os.O_RDWR)
            stack.callback(os.close, file)
            self._opened = file, found
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with suppress(*([CacheError] if error else [])):
                self.flush()
        finally:
            self._close()

    def missing(self) -> NDArray[np.int64]:
        """Entries that are still to be written, ascending, int64."""
        self.flush()
        return np.flatnonzero(self._found.arrays["done"] == 0)

    def write(
        self, start: int, logits: NDArray[np.float32], features: NDArray[np.float32] | None = None
    ) -> None:
        """Writes entries start ... start + n - 1: logits [n, C], features [n, D].

        They count as written after the next flush, which comes by itself every few seconds.
        Raises CacheError where a number is not finite or not below 60,000 in magnitude.
        """
        self._refuse_shapes(start, logits, features)
        if not len(logits):
            return
        self._refuse_unfit("logit", start, logits)
        if features is not None:
            self._refuse_unfit("feature", start, features)
        stored = pack(self.layout, logits, features)
        with writing(self.partial, self._bytes_missing):
            for name, values in stored.items():
                self._put(name, start, values)
            self._put("crc", start, checksums(stored))
        self._written.append((start, len(logits)))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Puts all that was written on the disk, and then marks it as written."""
        # Forgotten first: after a failed fsync nobody knows what is on the disk.
        written, self._written = self._written, []
        if not written:
            return
        with writing(self.partial, self._bytes_missing):
            os.fsync(self._file)
            for start, number in written:
                self._put("done", start, np.ones(number, np.uint8))
        self._synced = time.monotonic()

    def finish(self) -> Path:
        """Verifies every entry, marks the file complete and gives it its name; returns it.

        Raises CacheError where entries are missing, and CacheDamaged where an entry is not
        what was written; such entries are missing for the next writer.
        """
        if self._join:
            raise ValueError("only the process that holds the lock finishes a cache")
        if missing := len(self.missing()):
            raise CacheError(
                f"{self.partial} still lacks {missing:,} of {self.layout.entries:,} entries.",
                "give the same command again; it writes only those",
            )
        self._refuse_damage()
        self._refuse_existing()
        with writing(self.path, lambda: 0):
            os.fsync(self._file)
            container.mark_complete(self._file)
            os.fsync(self._file)
            self.partial.replace(self.path)
            sync_folder(self.path.parent)
        self._close()
        return self.path

    @property
    def _file(self) -> int:
        return self._open[0]

    @property
    def _found(self) -> Container:
        return self._open[1]

    @property
    def _open(self) -> tuple[int, Container]:
        if self._opened is None:
            raise ValueError("a cache is written inside its `with` block, before `finish`")
        return self._opened

    def _close(self) -> None:
        self._opened = None
        self._stack.close()

    def _put(self, name: str, start: int, values: NDArray[Any]) -> None:
        part = self._found.ranges[name]
        row = part.size // part.shape[0]
        write_all(self._file, values.data, part.offset + start * row)

    def _resumable(self) -> Container | None:
        """The partial file, where there is one that can be read and goes on with this export."""
        if not self.partial.exists() or not container.is_hdf5(self.partial):
            return None
        try:
            found = container.read(self.partial)
        except CacheDamaged:
            return None
        self._refuse_other_settings(found)
        return found

    def _create(self) -> Container:
        """Makes the partial file under yet another name, so that a partial file is well-formed."""
        if self._join:
            raise CacheError(f"{self.partial} does not exist.", "start the process that makes it")
        memory = container.empty(self.layout, self.attributes)
        require_room(self.partial, memory.length)
        draft = self.partial.with_name(f"{self.partial.name}.new")
        draft.unlink(missing_ok=True)
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            memory.save(file)
            os.fsync(file)
        except OSError:
            draft.unlink()
            raise
        finally:
            os.close(file)
        draft.replace(self.partial)
        sync_folder(self.path.parent)
        return container.read(self.partial)

    def _bytes_missing(self) -> int:
        if self._opened is None:
            return container.empty(self.layout, self.attributes).length
        return int((self._found.arrays["done"] == 0).sum()) * self.layout.entry_size

    def _refuse_existing(self) -> None:
        if self.path.exists() and not self._replace:
            raise CacheError(
                f"{self.path} exists already; replace it, or give another --output.",
                f"ltkd export-logits --output {quote(str(self.path))} --force",
            )

    def _refuse_other_settings(self, found: Container) -> None:
        wanted = decode(encode(self.attributes))
        different = match.of_exports((found.layout, found.attributes), (self.layout, wanted))
        if different:
            raise CacheMismatch(
                f"{self.partial} was begun with other settings:"
                + match.lines(different, "partial file", "this export"),
                f"to start anew: rm {quote(str(self.partial))}; to go on: repeat its settings",
            )

    def _refuse_shapes(
        self, start: int, logits: NDArray[np.float32], features: NDArray[np.float32] | None
    ) -> None:
        number = len(logits)
        shape = None if features is None else features.shape
        wanted = (number, self.layout.width) if self.layout.width else None
        if logits.shape != (number, self.layout.classes) or shape != wanted:
            raise ValueError(f"logits {logits.shape} or features {shape} do not fit the layout")
        if start < 0 or start + number > self.layout.entries:
            raise ValueError(f"there are no entries {start} ... {start + number - 1}")

    def _refuse_unfit(self, what: str, start: int, values: NDArray[np.float32]) -> None:
        position = first_unfit(values)
        if position is None:
            return
        row, view = self.layout.row_and_view(start + position // values.shape[1])
        raise CacheError(
            f"For row {row}, view {view}, the teacher gives a {what} of"
            f" {values.flat[position]:g}; a cache holds finite numbers below {LIMIT:,.0f}.",
            "ltkd eval",
        )

    def _refuse_damage(self) -> None:
        bad = damaged(self._found.stored, self._found.arrays["crc"])
        if not len(bad):
            return
        for entry in bad:
            self._put("done", int(entry), np.zeros(1, np.uint8))
        row, view = self.layout.row_and_view(int(bad[0]))
        raise CacheDamaged(
            f"{self.partial} has {len(bad):,} entries that are not what was written,"
            f" the first for row {row}, view {view}.",
            "give the same command again; it writes them anew",
        )


def partial_of(path: Path) -> Path:
    """Name of a cache while it is written."""
    return path.with_name(f"{path.name}.partial")


def lock_of(path: Path) -> Path:
    """Name of the lock of a cache while it is written."""
    return path.with_name(f"{path.name}.partial.lock")


def _completed(layout: Layout, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes of a new file; ValueError where they cannot belong to `layout`."""
    if fault := layout.fault():
        raise ValueError(fault)
    counts = np.bincount(layout.labels, minlength=layout.classes).tolist()
    if list(attributes["class_counts"]) != counts:
        raise ValueError("`class_counts` does not count the labels")
    if len(attributes["class_names"]) != layout.classes or not attributes["fingerprint"]:
        raise ValueError("`class_names` or `fingerprint` does not fit the image set")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    added = {"created": created, **software_versions()}
    return {**added, **attributes, "format": FORMAT, "complete": False}
