"""What a file of decoded images is: a header, the pixels of each image, and a sealed trailer."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ..errors import DataError
from .decode import Pixels
from .files import EncodedImages
from .images import FileImages
from .imageset import Images


class Sealed(ABC):
    """The decoded images of one split in a file of the cache folder, if they are kept there."""

    files: EncodedImages
    size: int
    """Pixels along each side of what is shown of an image."""
    short: int
    """Pixels that a short side has at most."""
    kind: str
    """How the images are decoded; part of their fingerprint."""
    uniform: bool
    """Whether all images are squares of `size`."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Where they are kept."""

    @abstractmethod
    def header(self) -> bytes:
        """What comes before the pixels."""

    @abstractmethod
    def trailer(self, sides: Sequence[tuple[int, int]], checksums: Sequence[int]) -> bytes:
        """What comes behind them, of images of these heights and widths and CRC-32."""

    @abstractmethod
    def open(self) -> Images | None:
        """The images, mapped; None where there is no file, or not the one that was written."""

    def _mapped(
        self, file: BinaryIO, mode: Literal["r", "c"], offset: int, shape: tuple[int, ...]
    ) -> Pixels:
        """The pixels in the file from `offset` on; DataError where memory has no room to map them.

        Any number of processes share one copy in memory.
        """
        try:
            return np.memmap(file, np.uint8, mode, offset, shape)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise DataError(
                f"There is not enough memory to map the decoded images in {self.path}.",
                "--store never",
            ) from error

    @abstractmethod
    def estimate(self) -> int:
        """About how many bytes the images take."""

    def on_demand(self) -> FileImages:
        """The same images, decoded from their files whenever they are needed."""
        return FileImages(self.files, self.size, self.short, self.uniform)
