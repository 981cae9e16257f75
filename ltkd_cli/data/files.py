"""The images of one split as they are stored: which they are, and what their bytes are."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, DataMismatch
from .contents import Contents, Progress, Stamps, contents, sha256_at, stamp
from .decode import Encoded, threads
from .failures import Failure
from .failures import name_some as name_some  # where commands look for it
from .imageset import digest

SAMPLED_FILES = 32
"""Files whose bytes went into the fingerprint of version 0.1.0."""

SAMPLED_BYTES = 65_536
"""Bytes it read of each of them."""

MUCH_TO_READ = 2**30
"""Bytes from which on hashing takes long enough to show its progress."""


@dataclass(frozen=True)
class Listing:
    """The images of one split and their labels, before any image is read."""

    name: str
    split: str
    root: str
    """The folder that the keys are relative to."""
    keys: tuple[str, ...]
    """Path of every image below `root`, with `/` on every system; the row order."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    opener: Callable[[Listing], EncodedImages] | None = None
    """Finds images that lie in no files of their own."""

    def take(self, rows: NDArray[np.int64]) -> Listing:
        """The listing of some rows, in their order."""
        keys = tuple(self.keys[row] for row in rows.tolist())
        return replace(self, keys=keys, labels=self.labels[rows])

    def open(self) -> EncodedImages:
        """Its images; DataError where some are missing."""
        return self.opener(self) if self.opener else image_files(self)


class EncodedImages(ABC):
    """Images in row order, each as the bytes of an image file."""

    def __init__(self, keys: tuple[str, ...], stamps: Stamps) -> None:
        """Images of these keys, in files that had these sizes and times when they were found."""
        self.keys, self.stamps = keys, stamps
        self._contents: Contents | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @abstractmethod
    def name(self, row: int) -> str:
        """What a message calls an image, so that a person finds it."""

    @abstractmethod
    def file(self, row: int) -> Encoded:
        """An image for Pillow to open."""

    @abstractmethod
    def check_unchanged(self, row: int) -> None:
        """Raises DataMismatch where an image is not what it was when it was found."""

    @property
    @abstractmethod
    def typical_bytes(self) -> int:
        """Mean bytes of an image."""

    @abstractmethod
    def _paths(self) -> Iterable[str]:
        """What the table of hashes is kept under: where each image lies."""

    @abstractmethod
    def _hash(self, row: int) -> bytes | Failure:
        """SHA-256 of an image, or why it cannot be read."""

    def contents(self, progress: Progress | None = None) -> Contents:
        """SHA-256 of every image, [N, 32]; DataError that names those that cannot be read."""
        if self._contents is None:
            much = self.typical_bytes * len(self) > MUCH_TO_READ
            shown = progress if much else None
            pool = threads(self.typical_bytes)
            self._contents = contents(self._paths(), self.stamps, self._hash, pool, shown)
        return self._contents

    def identity(self, kind: str) -> bytes:
        """What a fingerprint is taken of: keys and hashes, the same wherever the images lie.

        `kind` says how they are decoded.
        """
        listed = "\0".join(self.keys).encode(errors="surrogateescape")
        head = b"%s\0%d\0" % (kind.encode(), len(self))
        return head + listed + self.contents().tobytes()

    def identity_v1(self) -> bytes | None:
        """What version 0.1.0 took the fingerprint of; None where it could not read such images."""
        return None

    @cached_property
    def version(self) -> str:
        """64 hex digits over the bytes of all images in their order."""
        return digest(self.contents().tobytes())


class ImageFiles(EncodedImages):
    """Images that lie in files of their own."""

    def __init__(self, keys: tuple[str, ...], paths: tuple[str, ...], stamps: Stamps) -> None:
        """Images of these keys at these paths."""
        super().__init__(keys, stamps)
        self.paths = paths

    def name(self, row: int) -> str:
        """Its path."""
        return self.paths[row]

    def file(self, row: int) -> Encoded:
        """Its path."""
        return self.paths[row]

    def check_unchanged(self, row: int) -> None:
        """Raises DataMismatch where size or time of the file are not what they were."""
        found = _stat(self.paths[row])  # that it is gone, decoding will say
        if found is not None and [found.st_size, found.st_mtime_ns] != [*self.stamps[row, [0, 2]]]:
            raise DataMismatch(
                f"The image {self.paths[row]} was changed while it was in use.",
                "a new run, or the same one once the file is what it was",
            )

    @property
    def typical_bytes(self) -> int:
        """Mean bytes of a file."""
        return int(self.stamps[:, 0].sum()) // max(len(self), 1)

    def identity_v1(self) -> bytes:
        """Keys, sizes, and the first bytes of some files."""
        keyed = zip(self.keys, self.stamps[:, 0].tolist(), strict=True)
        listed = "\0".join(f"{size} {key}" for key, size in keyed)
        rows = np.linspace(0, len(self) - 1, min(len(self), SAMPLED_FILES)).astype(int)
        sample = digest(*(_first_bytes(self.paths[row]) for row in rows))
        return listed.encode(errors="surrogateescape") + sample.encode()

    def _paths(self) -> Iterable[str]:
        return map(os.path.abspath, self.paths)

    def _hash(self, row: int) -> bytes | Failure:
        return sha256_at(self.paths[row])


def image_files(listing: Listing) -> ImageFiles:
    """The files of a listing; DataError that counts those that are missing or are no files."""
    paths = tuple(_path(listing.root, key) for key in listing.keys)
    found = [_stat(path) for path in paths]
    missing = [key for key, stats in zip(listing.keys, found, strict=True) if stats is None]
    if missing:
        raise _missing(missing, listing)
    stats = [each for each in found if each is not None]
    odd = [path for path, each in zip(paths, stats, strict=True) if not stat.S_ISREG(each.st_mode)]
    if odd:
        raise DataError(
            f"{len(odd):,} of {len(paths):,} images are no regular files but folders, pipes or "
            f"devices: {name_some(odd)}.",
            "remove them",
        )
    stamps = np.array([stamp(each) for each in stats], dtype=np.int64).reshape(-1, 4)
    return ImageFiles(listing.keys, paths, stamps)


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


def _missing(missing: Sequence[str], listing: Listing) -> DataError:
    return DataError(
        f"{len(missing):,} of {len(listing.keys):,} images below {listing.root} are not there: "
        f"{name_some(missing)}.",
        "restore them; for lists, point --data-root at the folder that paths are relative to",
    )
