"""A file of the decoded images of one split.

    magic, 16 bytes | what they are, 32 bytes | N, int64
    the pixels of each image, uint8 [3, H, W], one behind the other
    N entries: height, width, CRC-32 of the pixels, uint32 each
    SHA-256 of the first and third line

All numbers are little-endian. What is not exactly so is decoded again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ..errors import DataError
from ..files import open_regular
from .decode import DECODE_VERSION, PHOTOGRAPH_VERSION, Pixels, dimensions, quietly, reduced
from .files import EncodedImages
from .images import FileImages, StoredImages, StoredPhotographs
from .imageset import digest
from .store import cache_folder, remembered

MAGIC = b"ltkd images 1\n\0\0"

ENTRY = 12
"""Bytes of an entry of the table."""

SAMPLED = 1_000
"""Images whose headers tell about how large all will be."""


class DecodedFile:
    """The decoded images of one split in a file of the cache folder, if they are kept there."""

    def __init__(self, files: EncodedImages, size: int, short: int, *, uniform: bool) -> None:
        """The images of `files` with short sides of at most `short` pixels, shown at `size`.

        With `uniform` all are squares of `size` already.
        """
        self.files, self.size, self.short, self.uniform = files, size, short, uniform
        of_squares, of_photographs = DECODE_VERSION, f"{PHOTOGRAPH_VERSION}, short side {short}"
        self.kind = f"decode {of_squares if uniform else of_photographs}"
        """How the images are decoded; part of their fingerprint."""

    @property
    def path(self) -> Path:
        """Where they are kept."""
        return cache_folder() / f"{self._digest()}.images"

    def header(self) -> bytes:
        """What comes before the pixels."""
        return MAGIC + bytes.fromhex(self._digest()) + struct.pack("<q", len(self.files))

    def trailer(self, sides: Sequence[tuple[int, int]], checksums: Sequence[int]) -> bytes:
        """What comes behind them, of images of these heights and widths and CRC-32."""
        numbers = np.array(checksums, "<u4")[:, None]
        table = np.hstack([np.array(sides, "<u4"), numbers]).astype("<u4").tobytes()
        return table + hashlib.sha256(self.header() + table).digest()

    def open(self) -> StoredImages | StoredPhotographs | None:
        """The images, mapped, so that any number of processes share one copy in memory.

        None where there is no file, or not the one that was written. DataError where memory has
        no room to map it.
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
                pixels = self._mapped(file, len(header), length)
        except OSError:
            return None
        checksums, inode = np.ascontiguousarray(numbers[:, 2]), found.st_ino
        if not self.uniform:
            return StoredPhotographs(pixels, sides, checksums, self.size, self.path, inode)
        if (sides != self.size).any():
            return None
        squares = pixels.reshape(count, 3, self.size, self.size)
        return StoredImages(squares, checksums, self.path, inode)

    def estimate(self) -> int:
        """Bytes of all images; about as many, by the headers of some, where sizes differ."""
        count = len(self.files)
        if self.uniform:
            return count * 3 * self.size * self.size
        name = f"{self.files.version}-{self.short}-bytes"
        return int(remembered(name, 1, lambda: [self._sampled() * count])[0])

    def on_demand(self) -> FileImages:
        """The same images, decoded from their files whenever they are needed."""
        return FileImages(self.files, self.size, self.short, self.uniform)

    def _mapped(self, file: BinaryIO, offset: int, length: int) -> Pixels:
        # Mode "c" never writes to the file, yet gives the writable array PyTorch insists on
        mode: Literal["c", "r"] = "c" if self.uniform else "r"
        try:
            return np.memmap(file, np.uint8, mode, offset, (length,))
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise DataError(
                f"There is not enough memory to map the decoded images in {self.path}.",
                "--store never",
            ) from error

    def _sampled(self) -> float:
        """Mean bytes of an image."""
        rows = np.linspace(0, len(self.files) - 1, min(len(self.files), SAMPLED)).astype(int)
        with quietly():
            sizes = [dimensions(self.files.file(row), self.files.name(row)) for row in rows]
        areas = [np.prod(reduced(size, self.short)) for size in sizes if size]
        return 3 * float(np.mean(areas)) if areas else 0.0

    def _digest(self) -> str:
        return digest(self.kind.encode(), self.files.version.encode())
