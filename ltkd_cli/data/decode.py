"""From an image file to upright RGB pixels: the same function for both ways of reading.

The aspect ratio stays. A photograph is reduced to the short side that it is kept with; nothing
is enlarged here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from .failures import Failure, UnknownRange, failure

Pixels = NDArray[np.uint8]

Encoded = str | BinaryIO
"""What Pillow opens: a path, or the bytes of an image file."""

DECODE_VERSION = 2
"""Of images that have the size asked for and are kept as they are.

Rises with every change of their pixels, so that stored ones go stale.
"""

PHOTOGRAPH_VERSION = 3
"""The same of photographs, which kept their aspect ratio from version 3 on."""

MARGIN = 256 / 224
"""Short side that a photograph is kept with, by the size of what is cut out of it."""

DRAFT = 2
"""A JPEG is decoded at no more than about so many times the size that it is reduced to."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "GIF", "PPM", "TIFF")
"""Formats that are read, by Pillow's names."""

SIXTEEN_BITS_AS_I = ("PNG", "PPM")
"""Formats without 32-bit images, whose 16 bits Pillow hands out as mode I."""

TINY_BYTES = 2_000
"""Below this, several threads decode no faster than one: they wait for the interpreter."""


def decode(file: Encoded, short: int) -> Pixels:
    """Pixels uint8 [3, H, W] of an image file, upright and in RGB.

    A short side of more than `short` is reduced to it (bilinear, as torchvision's `Resize`); an
    image that has no more stays as it is. Raises whatever Pillow raises, and UnknownRange.
    """
    with opened(file) as image:
        return pixels_of(image, short)


def opened(file: Encoded) -> Image.Image:
    """The image file, of which only the header is read yet; of FORMATS alone.

    Whatever its name says, Pillow goes by the content, and would start Ghostscript for EPS.
    """
    return Image.open(file, formats=FORMATS)


def pixels_of(image: Image.Image, short: int) -> Pixels:
    """The same of an image file that is open already."""
    size = reduced(image.size, short)
    # Less to decode, for JPEG only.
    drafted = size != image.size and image.draft(None, (DRAFT * size[0], DRAFT * size[1]))
    image.load()
    if not drafted:
        size = reduced(image.size, short)  # TIFF may be turned by now
    turn = _turn(image)
    coloured = _rgb(image, image.format)
    if coloured.size != size:
        coloured = coloured.resize(size, Image.Resampling.BILINEAR)
    return channels_first(coloured if turn is None else coloured.transpose(turn))


def attempt(file: Encoded, short: int, name: str = "") -> Pixels | Failure:
    """Pixels uint8 [3, H, W] of an image file, or why there are none.

    `name` is what messages call it. DataError where memory or file handles ran out.
    """
    try:
        return decode(file, short)
    except Exception as error:  # Pillow's readers raise whatever broken bytes make them trip over
        return failure(name or str(file), error)


def short_side(size: int) -> int:
    """Pixels that the short side of a photograph is kept with, for an image size."""
    return int(size * MARGIN + 1e-6)


def reduced(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Width and height once the short side has at most `short` pixels."""
    least = min(size)
    if least <= short:
        return size
    width, height = (max(1, side * short // least) for side in size)
    return width, height


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre of an image as a square of `size` pixels, resized by its short side."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def channels_first(image: Image.Image) -> Pixels:
    """Pixels uint8 [3, H, W] of an RGB image."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def dimensions(file: Encoded, name: str = "") -> tuple[int, int] | None:
    """Width and height in pixels from the file's header; None where it has no readable one."""
    try:
        with opened(file) as image:
            return image.size
    except Exception as error:  # as in `attempt`; decoding will name the file
        failure(name or str(file), error)
        return None


def threads(typical_bytes: int) -> int:
    """How many threads decode files of that many bytes: one, or one for each usable core."""
    if typical_bytes < TINY_BYTES:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def quietly() -> Iterator[None]:
    """Silences Pillow's warnings about odd but readable files, such as broken EXIF blocks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by the orientation in its EXIF block (tag 0x0112)."""


def _turn(image: Image.Image) -> Image.Transpose | None:
    return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))


def _rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(image, file_format))  # `convert` would cut off at 255
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # what Pillow asks for before transparent palettes lose alpha
    return image.convert("RGB")


def _eight_bits(image: Image.Image, file_format: str | None) -> Pixels:
    """Grey values uint8 [H, W] of 16-bit whole numbers, or of floating-point ones in [0, 1].

    UnknownRange for other floating-point values, and for whole numbers of 32 bits.
    """
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise UnknownRange("its floating-point values do not lie between 0 and 1")
        scaled: Pixels = np.rint(values * 255).astype(np.uint8)
        return scaled
    if image.mode == "I" and file_format not in SIXTEEN_BITS_AS_I:
        raise UnknownRange("its 32-bit values could mean any brightness; save it with 8 or 16 bits")
    high: Pixels = np.clip(values.astype(np.int64) >> 8, 0, 255).astype(np.uint8)
    return high
