"""Fills a cache file, survives being killed at any moment, and makes it whole at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheDamaged, CacheError, CacheMismatch, command
from ..files import Locked, locked, sync_folder, write_all
from . import container, trailer
from .attributes import as_read, software_versions
from .container import Container, Opened
from .difference import lines, of_exports
from .layout import FORMAT, LIMIT, Layout
from .pack import checksums, damaged, first_unfit, pack
from .target import draft_of, lock_of, partial_of, refuse_existing, require_room, writing

SYNC_SECONDS = 2.0
"""Work that a crash of the machine may cost at most, in seconds."""


class CacheWriter:
    """Writes the cache `path`, under the name `path`.partial until `finish`.

    A context manager. Entering takes the lock, then makes the partial file or takes up the
    one that is there; leaving puts on the disk what was written, and gives the lock back.
    Entering raises CacheError where `path` exists (unless `replace`), another process
    writes it, the disk is too small, or the partial file is not one that ltkd began (it is
    never replaced); CacheMismatch where it was begun with other settings. Any method raises
    CacheError where the disk takes no more bytes; the partial file stays and is taken up by
    the next writer.

    `attributes` are JSON-able; `fingerprint`, `class_names` and `class_counts` must be among
    them. Format, time and versions are added.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        attributes: Mapping[str, Any],
        *,
        replace: bool = False,
    ) -> None:
        self.path = path
        self.partial = partial_of(path)
        self.layout = layout
        self.attributes = _completed(layout, attributes)
        self.warnings: tuple[str, ...] = ()
        """Sentences on what was found when a partial file was taken up."""
        self._replace = replace
        self._written: list[tuple[int, int]] = []
        self._synced = time.monotonic()
        self._stack = ExitStack()
        self._opened: Container | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack, self._writing():
            refuse_existing(self.path, replace=self._replace)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked(lock_of(self.path)))
            except Locked as error:
                problem = f"{self.partial} is being written by {error}."
                raise CacheError(problem, error.hint) from None
            if not os.path.lexists(self.partial):
                self._create()
            file = Opened(self.partial, os.O_RDWR, follow=False)
            stack.callback(file.close)
            self._opened = self._taken_up(file)
            self._forget_damaged()
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
        return np.flatnonzero(self._found.arrays["done"] != 1)

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
        entries = np.arange(start, start + len(logits))
        with self._writing():
            for name, values in stored.items():
                self._put(name, start, values)
            self._put("crc", start, checksums(self.layout, stored, entries))
        self._written.append((start, len(logits)))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Puts all that was written on the disk, and then marks it as written."""
        # Forgotten first: after a failed fsync nobody knows what is on the disk.
        written, self._written = self._written, []
        if not written:
            return
        with self._writing():
            os.fsync(self._file)
            for start, number in written:
                self._put("done", start, np.ones(number, np.uint8))
        self._synced = time.monotonic()

    def finish(self) -> Path:
        """Verifies every entry, seals the file and gives it its name; returns it.

        Raises CacheError where entries are missing, and CacheDamaged where an entry is not
        what was written; such entries are missing for the next writer.
        """
        if missing := len(self.missing()):
            raise CacheError(
                f"{self.partial} still lacks {missing:,} of {self.layout.entries:,} entries.",
                "give the same command again; it writes only those",
            )
        self._refuse_damage()
        refuse_existing(self.path, replace=self._replace)
        with self._writing():
            os.fsync(self._file)
            trailer.seal(self._file)
            os.fsync(self._file)
            self.partial.replace(self.path)
            sync_folder(self.path.parent)
        self._close()
        return self.path

    @property
    def _file(self) -> int:
        return self._found.file.descriptor

    @property
    def _found(self) -> Container:
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

    def _taken_up(self, file: Opened) -> Container:
        """The partial file, which must be of this very export."""
        found = self._begun(file)
        different = of_exports((found.layout, found.attributes), (self.layout, self.attributes))
        if different:
            raise CacheMismatch(
                f"{self.partial} was begun with other settings:"
                + lines(different, "partial file", "this export"),
                f"{self._way_out}; to go on: repeat its settings",
            )
        return found

    def _begun(self, file: Opened) -> Container:
        """A partial file of ltkd, whole in all that it was begun with."""
        try:
            found = container.read_opened(file, unfinished=True)
        except CacheError as error:
            raise type(error)(error.problem, self._way_out) from error
        if found.format != FORMAT:
            raise CacheMismatch(
                f"{self.partial} has format {found.format}, which this ltkd only reads.",
                self._way_out,
            )
        return found

    @property
    def _way_out(self) -> str:
        return f"to start anew: rm {quote(str(self.partial))}"

    def _create(self) -> None:
        """Makes the partial file under yet another name, so that a partial file is well-formed."""
        require_room(self.partial, self._bytes_missing())
        draft = draft_of(self.path)
        draft.unlink(missing_ok=True)  # of a process that was killed; the name is ltkd's own
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o666)
        try:
            container.create(descriptor, self.layout, self.attributes)
            os.fsync(descriptor)
        except OSError:
            draft.unlink()
            raise
        finally:
            os.close(descriptor)
        draft.replace(self.partial)
        sync_folder(self.path.parent)

    def _forget_damaged(self) -> None:
        """Entries that are marked as written, and are not what was written, are missing again."""
        done = self._found.arrays["done"] == 1
        bad = damaged(self.layout, self._found.arrays, np.flatnonzero(done))
        for entry in bad:
            self._put("done", int(entry), np.zeros(1, np.uint8))
        if len(bad):
            self.warnings = (
                f"{self.partial} had {len(bad):,} entries that are not what was written, the"
                f" first for {self.layout.place(int(bad[0]))}; they are written anew.",
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
        place = self.layout.place(start + position // values.shape[1])
        raise CacheError(
            f"For {place}, the teacher gives a {what} of"
            f" {values.flat[position]:g}; a cache holds finite numbers below {LIMIT:,.0f}.",
            command("eval"),
        )

    def _refuse_damage(self) -> None:
        self._begun(self._found.file)
        bad = damaged(self.layout, self._found.arrays, np.arange(self.layout.entries))
        if not len(bad):
            return
        raise CacheDamaged(
            f"{self.partial} has {len(bad):,} entries that are not what was written,"
            f" the first for {self.layout.place(int(bad[0]))}.",
            "give the same command again; it writes them anew",
        )

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self.partial, self._bytes_missing)

    def _bytes_missing(self) -> int:
        if self._opened is None:
            return sum(dataset.size for dataset in self.layout.datasets().values())
        return int((self._found.arrays["done"] != 1).sum()) * self.layout.entry_size


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
    return as_read({**added, **attributes, "format": FORMAT})
