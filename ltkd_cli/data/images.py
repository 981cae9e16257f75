"""The three ways images are kept: in memory, in the cache folder, or as files read when needed."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataDamaged, DataError
from .decode import Pixels, attempt, quietly, threads
from .failures import Failure
from .files import EncodedImages
from .imageset import Images


class ResidentImages(Images):
    """Images in memory."""

    def __init__(self, pixels: Tensor) -> None:
        """Keeps `pixels`, uint8 [N, 3, H, W], contiguous."""
        self._pixels = pixels
        self.size = (pixels.shape[2], pixels.shape[3])

    @property
    def resident(self) -> Tensor:
        """All images, uint8 [N, 3, H, W]."""
        return self._pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`, int64 [B] on the CPU."""
        return self._pixels[rows]


class StoredImages(ResidentImages):
    """Decoded images in a file that is mapped into memory; each is checked when first read."""

    def __init__(
        self, pixels: Pixels, checksums: NDArray[np.uint32], path: Path, inode: int
    ) -> None:
        """`pixels` [N, 3, H, W] are mapped from the file; `checksums` [N] are their CRC-32."""
        super().__init__(torch.from_numpy(pixels))
        self._stored, self._checksums, self._path = pixels, checksums, path
        self._inode = inode
        self._checked = np.zeros(len(pixels), dtype=bool)
        self._complete = False

    @property
    def resident(self) -> Tensor:
        """All images, uint8 [N, 3, H, W]; DataDamaged where one is not what was written."""
        self._check(np.arange(len(self)))
        return self._pixels

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`; DataDamaged where one is not what was written."""
        self._check(rows.numpy())
        return self._pixels[rows]

    def _check(self, rows: NDArray[np.int64]) -> None:
        """Compares what is read for the first time in this process with its checksum."""
        if self._complete:
            return
        new = np.unique(rows[~self._checked[rows]])
        damaged = [row for row in new.tolist() if not self._is_whole(row)]
        if damaged:
            raise self._damage(damaged)
        self._checked[new] = True
        self._complete = bool(self._checked.all())

    def _is_whole(self, row: int) -> bool:
        return zlib.crc32(self._stored[row]) == int(self._checksums[row])

    def _damage(self, rows: list[int]) -> DataDamaged:
        """The error, with the file out of the way so that the next start decodes anew."""
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except OSError:
            pass  # somebody else has removed it
        return DataDamaged(
            f"{len(rows):,} of the decoded images in {self._path} are not what was written, the "
            f"first in row {rows[0]}; the file is removed.",
            "run the same command again: it decodes the images anew",
        )


class FileImages(Images):
    """Image files, decoded by a few threads each time they are asked for."""

    def __init__(self, files: EncodedImages, size: int) -> None:
        """Will give the images of `files` as squares of `size` pixels."""
        self.files = files
        self.size = (size, size)

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`; DataError where a file cannot be read.

        DataMismatch where a file is not what it was at the start.
        """
        height, width = self.size
        pixels = torch.empty(len(rows), 3, height, width, dtype=torch.uint8)
        with quietly(), ThreadPoolExecutor(threads(self.files.typical_bytes)) as pool:
            for place, image in enumerate(pool.map(self._decode, rows.tolist())):
                if isinstance(image, Failure):
                    raise _unreadable(image)
                pixels[place] = torch.from_numpy(image)
        return pixels

    def _decode(self, row: int) -> Pixels | Failure:
        image = attempt(self.files.file(row), self.size[0], self.files.name(row))
        if not isinstance(image, Failure):
            self.files.check_unchanged(row)
        return image


def _unreadable(failure: Failure) -> DataError:
    return DataError(
        f"The image {failure.path} cannot be read: {failure.reason}.", "replace or remove that file"
    )
