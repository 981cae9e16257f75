"""Images in a mapped file, each compared with its checksum when it is first read in a process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataDamaged
from .decode import Pixels


class Checked:
    """Which images of a file were found to be whole."""

    def __init__(
        self,
        pixels_of: Callable[[int], Pixels],
        checksums: NDArray[np.uint32],
        path: Path,
        inode: int,
    ) -> None:
        """`pixels_of` a row are mapped from the file; `checksums` [N] are their CRC-32."""
        self._pixels_of, self._checksums = pixels_of, checksums
        self._path, self._inode = path, inode
        self._checked = np.zeros(len(checksums), dtype=bool)
        self._complete = False

    def check(self, rows: NDArray[np.int64]) -> None:
        """Compares those of the rows that are new; DataDamaged where one is not as written."""
        if self._complete:
            return
        new = np.unique(rows[~self._checked[rows]])
        damaged = [row for row in new.tolist() if not self._is_whole(row)]
        if damaged:
            raise self._damage(damaged)
        self._checked[new] = True
        self._complete = bool(self._checked.all())

    def _is_whole(self, row: int) -> bool:
        return zlib.crc32(self._pixels_of(row).data) == int(self._checksums[row])

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
