"""What is odd about single images: how they are stored, and whether they can be read at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .contents import Progress
from .decode import Encoded, opened, pixels_of, quietly, threads
from .failures import Failure, failure
from .files import EncodedImages

AT_ONCE = 256
"""Images inspected between two reports of progress."""

GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of Pillow without colours."""

DEEP = GREY[4:]
"""Modes of Pillow with more than 8 bits a channel."""


@dataclass(frozen=True)
class Inspected:
    """How one image is stored."""

    width: int
    height: int
    mode: str
    frames: int

    @property
    def short(self) -> int:
        """Pixels of the shorter side."""
        return min(self.width, self.height)

    @property
    def aspect(self) -> float:
        """Longer side over shorter side."""
        return max(self.width, self.height) / max(self.short, 1)


def inspect(
    encoded: EncodedImages, progress: Progress | None = None
) -> Iterator[Inspected | Failure]:
    """Each image in row order, read to its last byte."""

    def one(row: int) -> Inspected | Failure:
        return _inspect(encoded.file(row), encoded.name(row))

    with quietly(), ThreadPoolExecutor(threads(encoded.typical_bytes)) as pool:
        for start in range(0, len(encoded), AT_ONCE):
            end = min(start + AT_ONCE, len(encoded))
            yield from pool.map(one, range(start, end))
            if progress is not None:
                progress(end, len(encoded))


def _inspect(file: Encoded, name: str) -> Inspected | Failure:
    try:
        with opened(file) as image:
            found = Inspected(*image.size, image.mode, getattr(image, "n_frames", 1))
            pixels_of(image, 8)
    except Exception as error:  # as in `decode.attempt`
        return failure(name, error)
    return found
