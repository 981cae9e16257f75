"""The trailer of a cache: what it holds, and digests of it, behind the end of the HDF5 file.

HDF5 ignores what follows its own end, so a reader can check every byte before HDF5, or
anything else, makes sense of it. The trailer is a JSON text and a footer:

    magic   8 bytes, `MAGIC`
    length  u8, bytes of the text, which ends where the footer begins
    begun   SHA-256 of all bytes before it, without the ranges `entries` and `later` of the text
    whole   SHA-256 of all bytes before it, without the ranges `entries`; zeros in a file that
            is not complete

`begun` protects what an unfinished file was made with, while its entries, their CRCs and flags
are still written; `whole` is written last.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, cast

from ..files import write_all
from ..records import Count, Invalid, checked, parse_json
from .attributes import HUGE

MAGIC = b"\x89LTKD\r\n\x1a"
"""How a footer begins: not text, and changed by programs that change line ends."""

MAX_TEXT = 2**26
"""Bytes of a text that are read; thousands of class names take a few hundred thousand."""

FOOTER = struct.Struct("<8sQ32s32s")
DIGEST = hashlib.sha256().digest_size
CHUNK = 2**20

ByteRange = tuple[Count, Count]
"""First byte, and how many."""


class Skipped(TypedDict):
    """What a reader of any format has to know to check the digests."""

    format: int
    entries: list[ByteRange]
    """Bytes of entries, which have CRCs of their own."""
    later: list[ByteRange]
    """Bytes of CRCs and flags, which are written with the entries."""


@dataclass(frozen=True)
class Trailer:
    """The text of a trailer, as its digests say it was written."""

    text: bytes
    skipped: Skipped
    complete: bool
    end: int
    """Where the HDF5 file ends and the text begins."""


def append(descriptor: int, end: int, text: bytes) -> None:
    """Writes the trailer of an unfinished file behind its HDF5 part, which ends at `end`."""
    write_all(descriptor, text + FOOTER.pack(MAGIC, len(text), b"", b""), end)
    skipped = _skipped(text)
    begun = end + len(text) + FOOTER.size - 2 * DIGEST
    both = [*skipped["entries"], *skipped["later"]]
    write_all(descriptor, _digest(descriptor, begun, both), begun)


def seal(descriptor: int) -> None:
    """Makes a file complete, whose entries, CRCs and flags are all written."""
    found = read(descriptor, unfinished=True)
    if found is None:
        raise ValueError("there is no trailer")
    whole = os.fstat(descriptor).st_size - DIGEST
    write_all(descriptor, _digest(descriptor, whole, found.skipped["entries"]), whole)


def read(descriptor: int, *, unfinished: bool = False) -> Trailer | None:
    """The trailer at the end of a file; None where there is none.

    Raises ValueError where a byte that the digests run over is not what was written. Of a file
    that is known to be `unfinished`, only those count that it was begun with.
    """
    size = os.fstat(descriptor).st_size
    if size < FOOTER.size:
        return None
    footer = os.pread(descriptor, FOOTER.size, size - FOOTER.size)
    magic, length, begun, whole = FOOTER.unpack(footer)
    if magic != MAGIC:
        return None
    end = size - FOOTER.size - length
    if end < 0 or length > MAX_TEXT:
        raise ValueError("its trailer does not fit into it")
    text = os.pread(descriptor, length, end)
    try:
        skipped = _skipped(text)
    except Invalid:
        raise ValueError("its trailer is not what was written") from None
    complete = whole != bytes(DIGEST) and not unfinished
    if complete:
        found = whole == _digest(descriptor, size - DIGEST, skipped["entries"])
    else:
        both = [*skipped["entries"], *skipped["later"]]
        found = begun == _digest(descriptor, size - 2 * DIGEST, both)
    if not found:
        raise ValueError("the bytes that describe its entries are not what was written")
    return Trailer(text, skipped, complete, end)


def _skipped(text: bytes) -> Skipped:
    return cast(Skipped, checked(parse_json(text, HUGE), Skipped))


def _digest(descriptor: int, end: int, skipped: Sequence[ByteRange]) -> bytes:
    """SHA-256 of the bytes before `end` outside of some ranges, which must not overlap."""
    state, position = hashlib.sha256(), 0
    for start, size in [*sorted(skipped), (end, 0)]:
        if not position <= start <= start + size <= end:
            raise ValueError("the ranges that its trailer names do not fit into it")
        while position < start:
            chunk = os.pread(descriptor, min(CHUNK, start - position), position)
            if not chunk:
                raise ValueError("it became shorter while it was read")
            state.update(chunk)
            position += len(chunk)
        position = start + size
    return state.digest()
