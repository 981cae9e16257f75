"""The ways images are kept: in memory, in the cache folder, or as files read when needed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checked import Checked
from .decode import Pixels, attempt, quietly, threads
from .failures import Failure, one_unreadable
from .files import EncodedImages
from .imageset import READ_AT_ONCE, Images


class ResidentImages(Images):
    """Images of one size in memory."""

    ready = True

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
    """Decoded images of one size in a file that is mapped; each is checked when first read."""

    def __init__(
        self, pixels: Pixels, checksums: NDArray[np.uint32], path: Path, inode: int
    ) -> None:
        """`pixels` [N, 3, H, W] are mapped from the file; `checksums` [N] are their CRC-32."""
        super().__init__(torch.from_numpy(pixels))
        self._checked = Checked(lambda row: pixels[row], checksums, path, inode)

    @property
    def resident(self) -> Tensor:
        """All images, uint8 [N, 3, H, W]; DataDamaged where one is not what was written."""
        self._checked.check(np.arange(len(self)))
        return self._pixels

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`; DataDamaged where one is not what was written."""
        self._checked.check(rows.numpy())
        return self._pixels[rows]


class StoredPhotographs(Images):
    """Decoded images of their own sizes in a file that is mapped, one byte range for each."""

    def __init__(
        self,
        pixels: Pixels,
        sides: NDArray[np.int64],
        checksums: NDArray[np.uint32],
        size: int,
        path: Path,
        inode: int,
    ) -> None:
        """`pixels` are the mapped bytes of all images; `sides` [N, 2] their heights and widths.

        `checksums` [N] are their CRC-32, and `size` is what squares are shown of them.
        """
        self.size = (size, size)
        self._pixels, self._sides = pixels, sides
        self._ends = (3 * sides.prod(1)).cumsum()
        self._checked = Checked(self._image, checksums, path, inode)

    def __len__(self) -> int:
        return len(self._sides)

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Images uint8 [3, H, W] of `rows`; DataDamaged where one is not what was written."""
        self._checked.check(rows.numpy())
        return [torch.from_numpy(self._image(row).copy()) for row in rows.tolist()]

    def _image(self, row: int) -> Pixels:
        height, width = self._sides[row].tolist()
        end = int(self._ends[row])
        return self._pixels[end - 3 * height * width : end].reshape(3, height, width)


class FileImages(Images):
    """Image files, decoded each time they are asked for."""

    def __init__(self, files: EncodedImages, size: int, short: int, uniform: bool) -> None:
        """Will give the images of `files` with short sides of at most `short` pixels.

        With `uniform` all have `size` pixels along each side already.
        """
        self.files, self.size = files, (size, size)
        self._short, self._uniform = short, uniform

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, rows: Tensor) -> Tensor | list[Tensor]:
        """Images uint8 [B, 3, H, W] of `rows`, or [3, H, W] each where sizes differ.

        DataError where a file cannot be read, DataMismatch where it is not what it was at the
        start.
        """
        with quietly():
            images = [torch.from_numpy(self._decode(row)) for row in rows.tolist()]
        return torch.stack(images) if self._uniform else images

    def each(self, rows: Tensor) -> Iterator[Pixels]:
        """The images of rows, one after the other, decoded by a few threads."""
        with quietly(), ThreadPoolExecutor(threads(self.files.typical_bytes)) as pool:
            for part in torch.split(rows, READ_AT_ONCE):
                yield from pool.map(self._decode, part.tolist())

    def _decode(self, row: int) -> Pixels:
        image = attempt(self.files.file(row), self._short, self.files.name(row))
        if isinstance(image, Failure):
            raise one_unreadable(image)
        self.files.check_unchanged(row)
        return image
