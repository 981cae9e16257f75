"""The two ways images are kept: all in memory, or as files decoded when asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ..errors import DataError
from .decode import Failure, attempt, quietly, threads
from .files import ImageFiles
from .imageset import Images


class ResidentImages(Images):
    """Images in memory, or in a file that is mapped into memory."""

    resident: Tensor

    def __init__(self, pixels: Tensor) -> None:
        """Keeps `pixels`, uint8 [N, 3, H, W], contiguous."""
        self.resident = pixels
        self.size = (pixels.shape[2], pixels.shape[3])

    def __len__(self) -> int:
        return len(self.resident)

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`, int64 [B] on the CPU."""
        return self.resident[rows]


class FileImages(Images):
    """Image files, decoded by a few threads each time they are asked for."""

    def __init__(self, files: ImageFiles, size: int) -> None:
        """Will give the images of `files` as squares of `size` pixels."""
        self.files = files
        self.size = (size, size)

    def __len__(self) -> int:
        return len(self.files)

    def gather(self, rows: Tensor) -> Tensor:
        """Images uint8 [B, 3, H, W] of `rows`; DataError where a file cannot be read."""
        height, width = self.size
        pixels = torch.empty(len(rows), 3, height, width, dtype=torch.uint8)
        paths = [self.files.paths[row] for row in rows.tolist()]
        with quietly(), ThreadPoolExecutor(threads(self.files.typical_bytes())) as pool:
            for place, image in enumerate(pool.map(attempt, paths, [height] * len(paths))):
                if isinstance(image, Failure):
                    raise _unreadable(image)
                pixels[place] = torch.from_numpy(image)
        return pixels


def _unreadable(failure: Failure) -> DataError:
    return DataError(
        f"The image {failure.path} cannot be read: {failure.reason}.", "replace or remove that file"
    )
