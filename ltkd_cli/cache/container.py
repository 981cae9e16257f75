"""The HDF5 side of a cache: making the file, finding its byte ranges, marking it complete.

HDF5 is the only format here that needs a library, and this is the only file that knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import CacheDamaged, CacheError, CacheMismatch
from . import attributes as plain
from .layout import DATASETS, FORMAT, REQUIRED, REQUIRED_ATTRIBUTES, Layout, Shape, from_datasets
from .memory import Memory

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file begins."""

ALIGNMENT = 64
"""Byte ranges begin at multiples of this, so that mapped numbers are aligned."""


@dataclass(frozen=True)
class Range(Shape):
    """One dataset: a contiguous range of bytes of the file."""

    offset: int


@dataclass(frozen=True)
class Container:
    """What a cache file says about itself."""

    path: Path
    attributes: dict[str, Any]
    ranges: dict[str, Range]
    layout: Layout
    arrays: dict[str, NDArray[Any]]
    """Every dataset, mapped from the file, read-only."""

    @property
    def stored(self) -> dict[str, NDArray[Any]]:
        """The mapped datasets that hold entries."""
        return {name: self.arrays[name] for name in self.layout.stored()}


def empty(layout: Layout, attributes: Mapping[str, Any]) -> Memory:
    """A cache file without entries, in memory; large datasets take no memory."""
    memory = Memory()
    known: dict[str, NDArray[Any]] = {
        "first": layout.first,
        "labels": layout.labels,
        "done": np.zeros(layout.entries, np.uint8),
    }
    with h5py.File(memory, "w", alignment_threshold=1, alignment_interval=ALIGNMENT) as file:
        for name, dataset in layout.datasets().items():
            _allocate(file, name, dataset, known.get(name))
        encoded = plain.encode(attributes)
        for name, value in {**encoded, plain.CHECKSUM: plain.checksum(encoded)}.items():
            file.attrs[name] = value
    return memory


def mark_complete(file: int) -> None:
    """Sets the attribute `complete`; a single byte of the file changes."""
    memory = Memory(file)
    with h5py.File(memory, "r+") as container:
        container.attrs.modify("complete", np.bool_(True))
    memory.save(file)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as every HDF5 file does."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read(path: Path) -> Container:
    """A cache file, complete or not, with its datasets mapped.

    Raises CacheDamaged for a truncated or malformed file, CacheMismatch for a newer format
    and CacheError for one that is no cache.
    """
    found, ranges = _contents(path)
    _refuse_other_formats(path, found)
    written = found.pop(plain.CHECKSUM, None)  # none in files of other writers
    try:
        attributes = plain.decode(found)
        container = _mapped(path, attributes, ranges)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise damage(path, f"it does not hold what a cache holds ({error!r})") from error
    if lacking := [name for name in REQUIRED_ATTRIBUTES if name not in attributes]:
        raise damage(path, f"it has no attribute {' and no '.join(lacking)}")
    if written not in (None, plain.checksum(found)):
        raise damage(path, "its attributes are not what was written")
    return container


def damage(path: Path, what: str) -> CacheDamaged:
    """The error for a file that breaks the format's rules."""
    return CacheDamaged(
        f"{path} is damaged: {what}.", f"ltkd export-logits --output {quote(str(path))} --force"
    )


def _allocate(file: h5py.File, name: str, dataset: Shape, values: NDArray[Any] | None) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    kind = h5py.h5t.py_create(dataset.dtype)
    space = h5py.h5s.create_simple(dataset.shape)
    created = h5py.h5d.create(file.id, name.encode(), kind, space, properties)
    if values is not None:
        created.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values, dataset.dtype))


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, Range | None]]:
    """Attributes and datasets of an HDF5 file; None for a dataset that is no byte range."""
    try:
        if path.stat().st_size == 0:
            raise damage(path, "it is empty")
        if not is_hdf5(path):
            raise CacheError(f"{path} is not an HDF5 file.", "ltkd export-logits")
    except OSError as error:
        raise CacheError(
            f"{path} cannot be read: {error.strerror}.", f"ls -ld {quote(str(path))}"
        ) from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = {name: _python(value) for name, value in file.attrs.items()}
            return attributes, {name: _range(file, name) for name in DATASETS if name in file}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise damage(path, f"HDF5 cannot read it ({error})") from error


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _range(file: h5py.File, name: str) -> Range | None:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    dataset = file[name]
    # HDF5 gives an offset only to what is contiguous, allocated and in this file.
    offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
    return None if offset is None else Range(dataset.dtype, dataset.shape, offset)


def _refuse_other_formats(path: Path, attributes: Mapping[str, Any]) -> None:
    found = attributes.get("format")
    if not isinstance(found, int) or found < 1 or "complete" not in attributes:
        raise CacheError(f"{path} is an HDF5 file, but not a cache.", "ltkd export-logits")
    if found > FORMAT:
        raise CacheMismatch(
            f"{path} has cache format {found}, and this ltkd reads up to format {FORMAT}.",
            "pip install --upgrade ltkd",
        )


def _mapped(path: Path, attributes: dict[str, Any], found: Mapping[str, Range | None]) -> Container:
    ranges = _byte_ranges(path, found)
    rows, classes, width, dtype = from_datasets(ranges)
    whole = np.memmap(path, np.uint8, "r")
    # NumPy refuses a range that ends beyond the file, should HDF5 ever let it pass.
    arrays: dict[str, NDArray[Any]] = {
        name: np.ndarray(part.shape, part.dtype, whole, part.offset)
        for name, part in ranges.items()
    }
    layout = Layout(rows, classes, width, arrays["first"], arrays["labels"], dtype)
    _refuse_misfits(path, layout, ranges)
    return Container(path, attributes, ranges, layout, arrays)


def _byte_ranges(path: Path, found: Mapping[str, Range | None]) -> dict[str, Range]:
    """The ranges, when every dataset is one."""
    ranges = {}
    for name in [*REQUIRED, *found]:
        part = found.get(name)
        if part is None:
            raise damage(path, f"`{name}` is missing or not one contiguous range of bytes")
        ranges[name] = part
    return ranges


def _refuse_misfits(path: Path, layout: Layout, ranges: Mapping[str, Range]) -> None:
    expected = layout.datasets()
    if ranges.keys() != expected.keys():
        names = ", ".join(sorted(ranges.keys() ^ expected.keys()))
        raise damage(path, f"with {layout.dtype} logits, {names} does not belong or is missing")
    for name, part in ranges.items():
        wanted = expected[name]
        if (part.dtype, part.shape) != (wanted.dtype, wanted.shape):
            raise damage(
                path, f"`{name}` is {part.dtype} {part.shape}, not {wanted.dtype} {wanted.shape}"
            )
    if fault := layout.fault():
        raise damage(path, fault)
