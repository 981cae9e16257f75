"""A cache file as a whole: made by HDF5, found to be what its trailer says, and mapped."""

from __future__ import annotations

import json
import mmap
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CacheDamaged, CacheError, CacheMismatch, Hint, command
from ..files import open_regular
from . import format1, trailer
from .again import export_unread
from .attributes import Record, described, encode, json_text
from .layout import DATASETS, FORMAT, REQUIRED, Layout, Shape, from_datasets
from .memory import Memory

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file begins."""

ALIGNMENT = 64
"""Byte ranges begin at multiples of this, so that mapped numbers are aligned."""


@dataclass(frozen=True)
class Range(Shape):
    """One dataset: a contiguous range of bytes of the file."""

    offset: int


class Opened:
    """An open file, and what it was when it was opened; closed when nobody holds it any more."""

    def __init__(self, path: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> None:
        self.path = path
        self.descriptor = open_regular(path, flags, follow=follow)
        self.close = weakref.finalize(self, os.close, self.descriptor)
        self.size, self.identity = self._now()

    def is_shorter(self) -> bool:
        """Whether bytes that were there are gone."""
        return os.fstat(self.descriptor).st_size < self.size

    def is_unchanged(self) -> bool:
        """Whether it was not written to, and still bears its name."""
        try:
            return self._now()[1] == self.identity and os.path.samestat(
                os.fstat(self.descriptor), self.path.stat()
            )
        except OSError:
            return False

    def _now(self) -> tuple[int, tuple[int, int]]:
        found = os.fstat(self.descriptor)
        return found.st_size, (found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Container:
    """What a cache file says about itself."""

    file: Opened
    format: int
    complete: bool
    attributes: dict[str, Any]
    ranges: dict[str, Range]
    layout: Layout
    arrays: dict[str, NDArray[Any]]
    """Every dataset, mapped from the file, read-only."""

    @property
    def path(self) -> Path:
        return self.file.path


def create(descriptor: int, layout: Layout, attributes: Mapping[str, Any]) -> None:
    """Makes an empty file a cache without entries, whose large datasets take no disk yet."""
    memory, ranges = hdf5(layout, attributes)
    memory.save(descriptor)
    later = [ranges[name] for name in ("crc", "done")]
    text = {
        "format": FORMAT,
        "entries": [[ranges[name].offset, ranges[name].size] for name in layout.stored()],
        "later": [[part.offset, part.size] for part in later],
        "datasets": {
            name: {"type": part.dtype.str, "shape": part.shape, "offset": part.offset}
            for name, part in ranges.items()
        },
        "attributes": dict(attributes),
    }
    trailer.append(descriptor, memory.length, json_text(text).encode())


def hdf5(layout: Layout, attributes: Mapping[str, Any]) -> tuple[Memory, dict[str, Range]]:
    """The HDF5 part of a cache without entries, in memory, and where its datasets lie."""
    import h5py  # only who writes needs it

    memory = Memory()
    known: dict[str, NDArray[Any]] = {
        "first": layout.first,
        "labels": layout.labels,
        "done": np.zeros(layout.entries, np.uint8),
    }
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    ranges = {}
    with h5py.File(memory, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
        for name, dataset in layout.datasets().items():
            kind = h5py.h5t.py_create(dataset.dtype)
            space = h5py.h5s.create_simple(dataset.shape)
            created = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
            if name in known:
                values = np.ascontiguousarray(known[name], dataset.dtype)
                created.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
            ranges[name] = Range(dataset.dtype, dataset.shape, created.get_offset())
        for name, value in encode(attributes).items():
            file.attrs[name] = value
    return memory, ranges


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as every HDF5 file does; not for a FIFO or a folder."""
    try:
        return _begins_as_hdf5(Opened(path))
    except OSError:
        return False


def read(path: Path, *, unfinished: bool = False) -> Container:
    """The cache file at `path`, complete or not, checked and mapped.

    Of one that is known to be `unfinished`, only what it was begun with is checked. Raises
    CacheDamaged for bytes that are not what was written, CacheMismatch for a newer format and
    CacheError for a file that is no cache or cannot be opened.
    """
    try:
        return read_opened(Opened(path), unfinished=unfinished)
    except OSError as error:
        raise CacheError(
            f"{path} cannot be read: {error.strerror}.", f"ls -ld {quote(str(path))}"
        ) from error


def read_opened(file: Opened, *, unfinished: bool = False) -> Container:
    """The same for an open file."""
    path = file.path
    if file.size == 0:
        raise damage(path, "it is empty")
    try:
        found = trailer.read(file.descriptor, unfinished=unfinished)
    except ValueError as error:
        raise damage(path, str(error)) from error
    try:
        if found is None:
            return _of_format_1(file)
        _refuse_newer(path, found.skipped["format"])
        container = _mapped(file, described(found.text), complete=found.complete)
        _refuse_unchecked(container, found.skipped)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise damage(path, f"it does not hold what a cache holds ({error})") from error
    return container


def damage(path: Path, what: str, hint: Hint = "") -> CacheDamaged:
    """The error for a file that breaks the format's rules."""
    return CacheDamaged(f"{path} is damaged: {what}.", hint or export_unread(path, "--force"))


def _of_format_1(file: Opened) -> Container:
    if not _begins_as_hdf5(file):
        raise CacheError(f"{file.path} is not an HDF5 file.", command("export-logits"))
    if _goes_on_behind_its_end(file):
        raise damage(file.path, "what follows the HDF5 part is not the trailer that was written")
    try:
        found = format1.describe(file.path)
    except ValueError as error:
        raise damage(file.path, str(error)) from error
    attributes = found["attributes"]
    number = attributes.get("format")
    if type(number) is not int or number < 1:
        raise CacheError(f"{file.path} is an HDF5 file, but not a cache.", command("export-logits"))
    _refuse_newer(file.path, number)
    if number > 1:
        raise damage(file.path, "its trailer is missing")
    complete = attributes.get("complete")
    return _mapped(file, described(json.dumps(found).encode()), complete=complete is True)


def _begins_as_hdf5(file: Opened) -> bool:
    return os.pread(file.descriptor, len(SIGNATURE), 0) == SIGNATURE


def _goes_on_behind_its_end(file: Opened) -> bool:
    """Whether the oldest kind of superblock, the one that caches have, names an earlier end."""
    superblock = os.pread(file.descriptor, 48, 0)
    oldest = superblock[8:9] == b"\0" and superblock[13:14] == b"\x08"
    return oldest and int.from_bytes(superblock[40:48], "little") < file.size


def _refuse_newer(path: Path, number: int) -> None:
    if number > FORMAT:
        raise CacheMismatch(
            f"{path} has cache format {number}, and this ltkd reads up to format {FORMAT}.",
            "pip install --upgrade ltkd",
        )


def _mapped(file: Opened, record: Record, *, complete: bool) -> Container:
    """The file's datasets as arrays; ValueError and the like where they disagree."""
    ranges = _byte_ranges(record)
    rows, classes, width, dtype = from_datasets(ranges)
    if any(part.offset + part.size > file.size for part in ranges.values()):
        raise ValueError("a dataset ends beyond the end of the file")
    whole = mmap.mmap(file.descriptor, file.size, access=mmap.ACCESS_READ)
    arrays: dict[str, NDArray[Any]] = {
        name: np.ndarray(part.shape, part.dtype, whole, part.offset)
        for name, part in ranges.items()
    }
    for name in ("first", "labels"):  # small, and checked once: kept as they are now
        arrays[name] = arrays[name].copy()
        arrays[name].flags.writeable = False
    number = record["attributes"]["format"]
    layout = Layout(rows, classes, width, arrays["first"], arrays["labels"], dtype, number)
    if fault := layout.fault():
        raise ValueError(fault)
    _refuse_misfits(layout, ranges, record)
    attributes = dict(record["attributes"])
    return Container(file, number, complete, attributes, ranges, layout, arrays)


def _byte_ranges(record: Record) -> dict[str, Range]:
    """The ranges, when every dataset is one."""
    ranges = {}
    found = record["datasets"]
    for name in [*REQUIRED, *(name for name in DATASETS if name in found)]:
        place = found.get(name)
        if place is None:
            raise ValueError(f"`{name}` is missing or not one contiguous range of bytes")
        ranges[name] = Range(np.dtype(place.type), place.shape, place.offset)
    return ranges


def _refuse_misfits(layout: Layout, ranges: Mapping[str, Range], record: Record) -> None:
    expected = layout.datasets()
    if ranges.keys() != expected.keys():
        names = ", ".join(sorted(ranges.keys() ^ expected.keys()))
        raise ValueError(f"with {layout.dtype} logits, {names} does not belong or is missing")
    for name, part in ranges.items():
        wanted = expected[name]
        if (part.dtype, part.shape) != (wanted.dtype, wanted.shape):
            raise ValueError(
                f"`{name}` is {part.dtype} {part.shape}, not {wanted.dtype} {wanted.shape}"
            )
    if len(record["attributes"]["class_names"]) != layout.classes:
        raise ValueError("`class_names` does not name its classes")
    counts = np.bincount(layout.labels, minlength=layout.classes)
    if record["attributes"]["class_counts"] != counts.tolist():
        raise ValueError("`class_counts` does not count its labels")


def _refuse_unchecked(container: Container, skipped: trailer.Skipped) -> None:
    """ValueError where the digests leave out what no CRC runs over."""
    ranges, stored = container.ranges, container.layout.stored()
    if skipped["format"] != FORMAT or container.format != FORMAT:
        raise ValueError("it names two formats")
    entries = [(ranges[name].offset, ranges[name].size) for name in stored]
    later = [(ranges[name].offset, ranges[name].size) for name in ("crc", "done")]
    if sorted(skipped["entries"]) != sorted(entries) or sorted(skipped["later"]) != sorted(later):
        raise ValueError("its digests do not run over all that is no entry")
