"""The image files of one split: which they are, and which version of them lies on the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .imageset import digest

SAMPLED_FILES = 32
"""Files whose bytes go into an identity: sizes alone do not tell uncompressed images apart."""

SAMPLED_BYTES = 65_536
"""Bytes read of each of them."""

NAMED_FILES = 10
"""Files named in a message; a sentence with thousands of paths helps nobody."""


@dataclass(frozen=True)
class Listing:
    """The image files of one split and their labels, before any file is touched."""

    name: str
    split: str
    root: str
    """The folder that the keys are relative to."""
    keys: tuple[str, ...]
    """Path of every image below `root`, with `/` on every system; the row order."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> Listing:
        """The listing of some rows, in their order."""
        keys = tuple(self.keys[row] for row in rows.tolist())
        return Listing(self.name, self.split, self.root, keys, self.labels[rows], self.class_names)


@dataclass(frozen=True)
class ImageFiles:
    """Files in row order, with what tells one version of them from another."""

    root: str
    keys: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    """Bytes of each file."""
    times: tuple[int, ...]
    """Nanoseconds since 1970 at which each file was last changed."""

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def identity(self) -> bytes:
        """Keys, sizes and sampled bytes: the same wherever the files lie."""
        keyed = zip(self.keys, self.sizes, strict=True)
        listed = "\0".join(f"{size} {key}" for key, size in keyed)
        return listed.encode(errors="surrogateescape") + self._sample()

    @cached_property
    def version(self) -> str:
        """64 hex digits over the identity and the times: changed by every edit of a file."""
        return digest(self.identity, np.array(self.times, dtype="<i8").tobytes())

    def typical_bytes(self) -> int:
        """Mean bytes of a file."""
        return sum(self.sizes) // max(len(self), 1)

    def _sample(self) -> bytes:
        rows = np.linspace(0, len(self) - 1, min(len(self), SAMPLED_FILES)).astype(int)
        return digest(*(_first_bytes(self.paths[row]) for row in rows)).encode()


def image_files(listing: Listing) -> ImageFiles:
    """The files of a listing; DataError that counts the missing ones and names the first."""
    paths = tuple(_path(listing.root, key) for key in listing.keys)
    found = [_stat(path) for path in paths]
    missing = [key for key, stat in zip(listing.keys, found, strict=True) if stat is None]
    if missing:
        raise _missing(missing, listing)
    stats = [stat for stat in found if stat is not None]
    sizes = tuple(stat.st_size for stat in stats)
    times = tuple(stat.st_mtime_ns for stat in stats)
    return ImageFiles(listing.root, listing.keys, paths, sizes, times)


def name_some(items: Sequence[str]) -> str:
    """The first names in a row, and how many more there are."""
    more = len(items) - NAMED_FILES
    return ", ".join(items[:NAMED_FILES]) + (f" and {more} more" if more > 0 else "")


def _path(root: str, key: str) -> str:
    # Plain strings: a Path for each of a million files would cost seconds at every start.
    return key if os.path.isabs(key) else f"{root}/{key}"  # noqa: PTH117


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - half the time of Path.stat
    except OSError:
        return None


def _first_bytes(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(SAMPLED_BYTES)
    except OSError:
        return b""  # decoding names every file that cannot be read


def _missing(missing: list[str], listing: Listing) -> DataError:
    return DataError(
        f"{len(missing):,} of {len(listing.keys):,} images below {listing.root} are not there: "
        f"{name_some(missing)}.",
        "restore them; for lists, point --data-root at the folder that paths are relative to",
    )
