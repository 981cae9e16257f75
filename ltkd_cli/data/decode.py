"""From an image file to square RGB pixels: the same function for both ways of reading."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from .failures import Failure, failure

Pixels = NDArray[np.uint8]

Encoded = str | BinaryIO
"""What Pillow opens: a path, or the bytes of an image file."""

DECODE_VERSION = 2
"""Rises with every change of the pixels that `decode` returns, so that stored ones go stale."""

SIXTEEN_BITS_AS_I = ("PNG", "PPM")
"""Formats without 32-bit images, whose 16 bits Pillow hands out as mode I."""

TINY_BYTES = 2_000
"""Below this, several threads decode no faster than one: they wait for the interpreter."""


class UnknownRange(ValueError):
    """Pixel values of which nobody says where black and white lie."""


def decode(file: Encoded, size: int) -> Pixels:
    """Pixels uint8 [3, size, size] of an image file, upright and in RGB.

    The short side is resized to `size` (bicubic) and the centre is kept; an image that has
    the size already stays clean. Raises whatever Pillow raises, and UnknownRange.
    """
    with Image.open(file) as image:
        return pixels_of(image, size)


def pixels_of(image: Image.Image, size: int) -> Pixels:
    """The same of an image file that is open already."""
    return channels_first(square(_rgb(_upright(image), image.format), size))


def attempt(file: Encoded, size: int, name: str = "") -> Pixels | Failure:
    """Pixels uint8 [3, size, size] of an image file, or why there are none.

    `name` is what messages call it. DataError where memory or file handles ran out.
    """
    try:
        return decode(file, size)
    except Exception as error:  # Pillow's readers raise whatever broken bytes make them trip over
        return failure(name or str(file), error)


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
        with Image.open(file) as image:
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


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


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
