"""Files of decoded images that all have the size that is shown.

Such a file is an .npy array [N, 3, S, S], followed by the CRC-32 of every image and a SHA-256
over the header and these checksums. What is not exactly so is decoded again.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import open_regular
from .decode import DECODE_VERSION, short_side
from .files import EncodedImages
from .images import StoredImages
from .imageset import digest
from .sealed import Sealed
from .store import cache_folder


class Squares(Sealed):
    """The decoded images of one split, all squares of one size."""

    uniform = True

    def __init__(self, files: EncodedImages, size: int) -> None:
        """The images of `files`, of `size` pixels along each side."""
        self.files, self.size = files, size
        self.short = short_side(size)
        self.kind = f"decode {DECODE_VERSION}"

    @property
    def path(self) -> Path:
        """Where they are kept."""
        kind = f"{self.kind}, {self.size} pixels".encode()
        return cache_folder() / f"{digest(kind, self.files.version.encode())}.npy"

    def header(self) -> bytes:
        """That of an .npy file."""
        header = io.BytesIO()
        described = {"descr": "|u1", "fortran_order": False, "shape": self._shape()}
        np.lib.format.write_array_header_1_0(header, described)
        return header.getvalue()

    def trailer(self, sides: Sequence[tuple[int, int]], checksums: Sequence[int]) -> bytes:
        """The checksums and the seal."""
        numbers = np.array(checksums, "<u4").tobytes()
        return numbers + hashlib.sha256(self.header() + numbers).digest()

    def open(self) -> StoredImages | None:
        """The images, mapped, so that any number of processes share one copy in memory.

        None where there is no file, or not the one that was written.
        """
        header = self.header()
        end = len(header) + self.estimate()
        try:
            with os.fdopen(open_regular(self.path), "rb") as file:
                found = os.fstat(file.fileno())
                whole = found.st_size == end + 4 * len(self.files) + hashlib.sha256().digest_size
                if not whole or file.read(len(header)) != header:
                    return None
                file.seek(end)
                checksums, seal = file.read(4 * len(self.files)), file.read()
                if seal != hashlib.sha256(header + checksums).digest():
                    return None
                # Mode "c" never writes to the file, yet gives the writable array PyTorch insists on
                pixels = self._mapped(file, "c", len(header), self._shape())
        except OSError:
            return None
        return StoredImages(pixels, np.frombuffer(checksums, "<u4"), self.path, found.st_ino)

    def estimate(self) -> int:
        """Bytes of all images."""
        return len(self.files) * 3 * self.size * self.size

    def _shape(self) -> tuple[int, int, int, int]:
        return (len(self.files), 3, self.size, self.size)
