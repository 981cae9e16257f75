"""A file in memory for HDF5 to write to.

HDF5 itself never writes to the disk: where a disk is full or a limit is met, the library
fails again while it shuts down and takes the process with it. It writes to memory
instead, and the few pieces it wrote are then put in place by positioned writes.
"""

from __future__ import annotations

import io
import os
from typing import Any

from ..files import write_all


class Memory(io.RawIOBase):
    """All that HDF5 has written, and zeros in between, which take no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.pieces: list[tuple[int, bytes]] = []
        self.position = 0

    def save(self, descriptor: int) -> None:
        """Puts every written piece into an empty file, which gets this one's length."""
        os.ftruncate(descriptor, self.length)
        for offset, piece in self.pieces:
            write_all(descriptor, piece, offset)

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
        target[:] = bytes(len(target))
        for offset, piece in self.pieces:
            start = max(offset, self.position)
            stop = min(offset + len(piece), self.position + len(target))
            if start < stop:
                inside = piece[start - offset : stop - offset]
                target[start - self.position : stop - self.position] = inside
        self.position += len(target)
        return len(target)
