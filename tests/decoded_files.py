"""The files of decoded images in the cache folder, for tests that look for one or damage it."""

import struct

from ltkd_cli.data import store
from ltkd_cli.data.decodedfile import ENTRY, MAGIC

HEADER = len(MAGIC) + 32 + 8
"""Bytes before the pixels."""

SEAL = 32
"""Bytes behind the table."""


def paths():
    """All of them."""
    return sorted(store.cache_folder().glob("*.images"))


def count_of(path):
    """How many images a file holds."""
    return struct.unpack("<q", path.read_bytes()[HEADER - 8 : HEADER])[0]


def file_of(images):
    """The one that holds so many images."""
    (path,) = [path for path in paths() if count_of(path) == images]
    return path


def end_of_pixels(path):
    """Where the table begins."""
    return path.stat().st_size - SEAL - ENTRY * count_of(path)
