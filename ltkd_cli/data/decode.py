"""From an image file to square RGB pixels: the same function for both ways of reading."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

Pixels = NDArray[np.uint8]

DECODE_VERSION = 1
"""Rises with every change of the pixels that `decode` returns, so that stored ones go stale."""

TINY_BYTES = 2_000
"""Below this, several threads decode no faster than one: they wait for the interpreter."""


@dataclass(frozen=True)
class Failure:
    """A file that is no readable image, and what its reader said."""

    path: str
    reason: str


def decode(path: str, size: int) -> Pixels:
    """Pixels uint8 [3, size, size] of an image file, upright and in RGB.

    The short side is resized to `size` (bicubic) and the centre is kept; an image that has
    the size already stays clean. Raises whatever Pillow raises.
    """
    with Image.open(path) as image:
        return channels_first(square(_rgb(_upright(image)), size))


def attempt(path: str, size: int) -> Pixels | Failure:
    """Pixels uint8 [3, size, size] of an image file, or why there are none."""
    try:
        return decode(path, size)
    except Exception as error:  # Pillow's readers raise whatever broken bytes make them trip over
        return Failure(path, _reason(error))


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


def dimensions(path: str) -> tuple[int, int] | None:
    """Width and height in pixels from the file's header; None where it has no readable one."""
    try:
        with Image.open(path) as image:
            return image.size
    except Exception:  # as in `attempt`; decoding will name the file
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


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel, which `convert` would cut off at 255
        high = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        image = Image.fromarray(high.astype(np.uint8))
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")  # what Pillow asks for before transparent palettes lose alpha
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if words else type(error).__name__
