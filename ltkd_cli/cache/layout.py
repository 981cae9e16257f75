"""Which datasets a cache file holds, and how many entries: the specification is docs/cache.md.

These datasets lie in the root group, for N images, C classes, D features and R entries, which
are the views of all images; of P parts an entry has one or, with features, two:

    logits          f2 [R, C]  the network's output before softmax; MAY be f4 or u1 instead
    logits_scale    f4 [R]     MUST exist where logits are u1, and only there
    logits_offset   f4 [R]     likewise; logit = logits * logits_scale + logits_offset
    features        f2 [R, D]  pooled penultimate layer; MAY be absent; f4 where logits are f4
    first           i8 [N + 1] MUST begin with 0 and grow by at least 1 from image to image
    labels          i4 [N]     MUST lie in 0 ... C - 1; in the order of the image set
    crc             u4 [R, P]  CRC-32 (zlib's) of the entry's number as u8 and, in column 0, of
                               the stored bytes of its logits, logits_scale and logits_offset;
                               in column 1, where features exist, of its features
    done            u1 [R]     1 where the entry is written, else 0

In format 1, crc is u4 [R]: of all stored bytes of the entry, in this order, without its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

FORMAT = 2
"""The format this version of ltkd writes, and the highest it reads."""

LIMIT = 60_000.0
"""Stored logits and features are smaller in magnitude; float16 ends at 65,504."""

PARTS = (("logits", "logits_scale", "logits_offset"), ("features",))
"""What is stored for an entry, by the part that is read, and checked, on its own."""

STORED = (*PARTS[0], *PARTS[1])
"""The same, in the order in which the CRC of format 1 runs over it."""

REQUIRED = ("logits", "first", "labels", "crc", "done")
"""Datasets that every cache has."""

DATASETS = (*STORED, "first", "labels", "crc", "done")
"""Every dataset that a cache may have."""

LogitsType = Literal["float16", "float32", "uint8"]


@dataclass(frozen=True)
class Shape:
    """Element type and shape of one dataset."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True, eq=False)
class Layout:
    """How many entries a cache has, of what width and type, for which rows."""

    rows: int
    """N, images of the set."""
    classes: int
    """C."""
    width: int
    """D; 0 where no features are stored."""
    first: NDArray[np.int64]
    """First entry of each image, [N + 1]."""
    labels: NDArray[np.int32]
    """[N]."""
    dtype: LogitsType = "float16"
    """How logits are stored; `uint8` is lossy: 255 steps between an entry's extremes."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.rows < 1 or self.classes < 1 or self.width < 0:
            raise ValueError("a layout needs at least one row and one class")
        if len(self.first) != self.rows + 1 or len(self.labels) != self.rows:
            raise ValueError(f"`first` or `labels` do not fit {self.rows} rows")
        if self.dtype not in get_args(LogitsType):
            raise ValueError(f"logits cannot be stored as {self.dtype}")

    @classmethod
    def even(
        cls,
        labels: NDArray[np.integer[Any]],
        classes: int,
        views: int,
        width: int = 0,
        dtype: LogitsType = "float16",
    ) -> Layout:
        """The layout with the same number of views for every row."""
        first = np.arange(len(labels) + 1, dtype=np.int64) * views
        return cls(len(labels), classes, width, first, labels.astype(np.int32), dtype)

    @property
    def entries(self) -> int:
        """R, views of all images together."""
        return int(self.first[-1])

    @property
    def names(self) -> frozenset[str]:
        """What a method may ask for: `logits`, and `features` where they are stored."""
        return frozenset({"logits", "features"} if self.width else {"logits"})

    @property
    def entry_size(self) -> int:
        """Bytes of one entry with its CRCs and flag."""
        entry = self.datasets()
        return sum(entry[name].size for name in (*self.stored(), "crc", "done")) // self.entries

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Names of the datasets under each column of `crc`."""
        stored = self.stored()
        if self.format == 1:
            return (tuple(stored),)
        found = (tuple(name for name in part if name in stored) for part in PARTS)
        return tuple(part for part in found if part)

    def stored(self) -> dict[str, Shape]:
        """The datasets that hold entries, in the order of `STORED`."""
        compact = self.dtype == "uint8"
        wide = np.dtype("<f4") if self.dtype == "float32" else np.dtype("<f2")
        per_entry = Shape(np.dtype("<f4"), (self.entries,))
        found = {"logits": Shape(np.dtype("u1") if compact else wide, (self.entries, self.classes))}
        if compact:
            found |= {"logits_scale": per_entry, "logits_offset": per_entry}
        if self.width:
            found["features"] = Shape(wide, (self.entries, self.width))
        return found

    def datasets(self) -> dict[str, Shape]:
        """Every dataset of the file."""
        crc = (self.entries,) if self.format == 1 else (self.entries, len(self.parts))
        return self.stored() | {
            "first": Shape(np.dtype("<i8"), (self.rows + 1,)),
            "labels": Shape(np.dtype("<i4"), (self.rows,)),
            "crc": Shape(np.dtype("<u4"), crc),
            "done": Shape(np.dtype("u1"), (self.entries,)),
        }

    def place(self, entry: int) -> str:
        """The image, and which of its views, that an entry belongs to, in words."""
        row = int(np.searchsorted(self.first, entry, side="right")) - 1
        return f"row {row}, view {entry - int(self.first[row])}"

    def fault(self) -> str:
        """What breaks the format's rules in `first` or `labels`; empty where nothing does."""
        if self.first[0] != 0 or (self.first[1:] <= self.first[:-1]).any():
            return "`first` does not begin with 0 and grow with every row"
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= self.classes))
        if len(outside):
            row = int(outside[0])
            return f"row {row} has label {self.labels[row]}, outside 0 ... {self.classes - 1}"
        return ""


def from_datasets(found: Mapping[str, Shape]) -> tuple[int, int, int, LogitsType]:
    """Rows, classes, width and logits type that a file's datasets speak of.

    Raises KeyError, IndexError or ValueError where they cannot be those of a cache.
    """
    names: dict[str, LogitsType] = {"<f2": "float16", "<f4": "float32", "|u1": "uint8"}
    logits = found["logits"]
    width = found["features"].shape[1] if "features" in found else 0
    return found["labels"].shape[0], logits.shape[1], width, names[logits.dtype.str]
