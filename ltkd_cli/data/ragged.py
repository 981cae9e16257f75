"""Files of decoded photographs, each of its own size.

    magic, 16 bytes | what they are, 32 bytes | N, int64
    the pixels of each image, uint8 [3, H, W], one behind the other
    N entries: height, width, CRC-32 of the pixels, uint32 each
    SHA-256 of the first and third line

All numbers are little-endian. What is not exactly so is decoded again.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import open_regular
from .decode import PHOTOGRAPH_VERSION, dimensions, quietly, reduced
from .files import EncodedImages
from .images import StoredPhotographs
from .imageset import digest
from .sealed import Sealed
from .store import cache_folder, remembered

MAGIC = b"ltkd photos 1\n\0\0"

ENTRY = 12
"""Bytes of an entry of the trailer."""

SAMPLED = 1_000
"""Images whose headers tell about how large all will be."""


class Ragged(Sealed):
    """The decoded photographs of one split."""

    uniform = False

    def __init__(self, files: EncodedImages, size: int, short: int) -> None:
        """The images of `files` with short sides of at most `short` pixels, shown at `size`."""
        self.files, self.size, self.short = files, size, short
        self.kind = f"decode {PHOTOGRAPH_VERSION}, short side {short}"

    @property
    def path(self) -> Path:
        """Where they are kept."""
        return cache_folder() / f"{self._digest()}.photos"

    def header(self) -> bytes:
        """Magic, what the images are, and their number."""
        return MAGIC + bytes.fromhex(self._digest()) + struct.pack("<q", len(self.files))

    def trailer(self, sides: Sequence[tuple[int, int]], checksums: Sequence[int]) -> bytes:
        """The table of images, and the seal."""
        numbers = np.array(checksums, "<u4")[:, None]
        table = np.hstack([np.array(sides, "<u4"), numbers]).astype("<u4").tobytes()
        return table + hashlib.sha256(self.header() + table).digest()

    def open(self) -> StoredPhotographs | None:
        """The images, mapped, so that any number of processes share one copy in memory.

        None where there is no file, or not the one that was written.
        """
        header, count = self.header(), len(self.files)
        behind = ENTRY * count + hashlib.sha256().digest_size
        try:
            with os.fdopen(open_regular(self.path), "rb") as file:
                found = os.fstat(file.fileno())
                length = found.st_size - len(header) - behind
                if length < 0 or file.read(len(header)) != header:
                    return None
                file.seek(len(header) + length)
                table, seal = file.read(ENTRY * count), file.read()
                if seal != hashlib.sha256(header + table).digest():
                    return None
                numbers = np.frombuffer(table, "<u4").reshape(-1, 3)
                sides = numbers[:, :2].astype(np.int64)
                if 3 * int(sides.prod(1).sum()) != length:
                    return None
                pixels = self._mapped(file, "r", len(header), (length,))
        except OSError:
            return None
        checksums = np.ascontiguousarray(numbers[:, 2])
        return StoredPhotographs(pixels, sides, checksums, self.size, self.path, found.st_ino)

    def estimate(self) -> int:
        """About how many bytes the images take, by the headers of some of them."""
        name = f"{self.files.version}-{self.short}-bytes"
        return int(remembered(name, 1, lambda: [self._sampled() * len(self.files)])[0])

    def _sampled(self) -> float:
        """Mean bytes of an image."""
        rows = np.linspace(0, len(self.files) - 1, min(len(self.files), SAMPLED)).astype(int)
        with quietly():
            sizes = [dimensions(self.files.file(row), self.files.name(row)) for row in rows]
        areas = [np.prod(reduced(size, self.short)) for size in sizes if size]
        return 3 * float(np.mean(areas)) if areas else 0.0

    def _digest(self) -> str:
        return digest(self.kind.encode(), self.files.version.encode())
