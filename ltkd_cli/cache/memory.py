"""A file in memory for HDF5 to write to.

HDF5 itself never writes to the disk: where a disk is full or a limit is met, the library
fails again while it shuts down and takes the process with it. It writes to memory
instead, and the few pieces it wrote are then put in place by positioned writes.
"""

from __future__ import annotations

import io
import os
from typing import Any

from .disk import write_all


class Memory(io.RawIOBase):
    """A file for HDF5 to write to: the bytes of `base` below, all that is written above."""

    def __init__(self, base: int | None = None) -> None:
        super().__init__()
        self.base = base
        self.length = 0 if base is None else os.fstat(base).st_size
        self.pieces: list[tuple[int, bytes]] = []
        self.position = 0

    def save(self, file: int) -> None:
        """Puts every written piece into `file`, which gets this one's length."""
        os.ftruncate(file, self.length)
        for offset, piece in self.pieces:
            write_all(file, piece, offset)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self.length = self.position if size is None else size
        return self.length

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.pieces.append((self.position, piece))
        self.position += len(piece)
        self.length = max(self.length, self.position)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        below = b"" if self.base is None else os.pread(self.base, len(target), self.position)
        target[:] = below.ljust(len(target), b"\0")
        for offset, piece in self.pieces:
            start = max(offset, self.position)
            stop = min(offset + len(piece), self.position + len(target))
            if start < stop:
                inside = piece[start - offset : stop - offset]
                target[start - self.position : stop - self.position] = inside
        self.position += len(target)
        return len(target)
