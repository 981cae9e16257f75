"""Decoded images in the cache folder, so that only the first start has to read image files.

A file of them is an .npy array [N, 3, S, S], followed by the CRC-32 of every image and a SHA-256
over the header and these checksums. What is not exactly so is decoded again.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import free_space, open_regular, replacing
from . import store
from .contents import Progress as Progress  # where commands look for it
from .decode import DECODE_VERSION, Pixels, attempt, quietly, threads
from .failures import Failure, unreadable
from .files import EncodedImages
from .images import FileImages, StoredImages
from .imageset import Images, digest

STORED_LIMIT = 16 * 2**30
"""Bytes up to which decoded images are stored; above, files are decoded when asked for."""

SPARE_BYTES = 2**28
"""Space that decoding leaves free on the disk."""

BATCH = 256
"""Images decoded between two writes and two reports of progress."""

Checksums = NDArray[np.uint32]
"""CRC-32 of the pixels of every image, [N]."""


class _Unreadable(Exception):
    """Some images of a split cannot be decoded, so nothing of it is stored."""


def open_images(
    splits: Sequence[EncodedImages], size: int, progress: Progress | None = None
) -> list[Images]:
    """The images of each split as squares of `size` pixels, decoded first where needed.

    DataError that names every image of every split that cannot be read, or says that the
    disk has no room.
    """
    stored = [files for files in splits if _bytes(files, size) <= STORED_LIMIT]
    pending = [files for files in stored if _stored(files, size) is None]
    if pending:
        with quietly():
            _decode_all(pending, size, progress or _silent)
    return [_open(files, size) for files in splits]


def _open(files: EncodedImages, size: int) -> Images:
    if _bytes(files, size) > STORED_LIMIT:
        return FileImages(files, size)
    images = _stored(files, size)
    if images is None:
        raise DataError(
            f"The decoded images in {_stored_path(files, size)} have disappeared.",
            "run the same command again",
        )
    return images


def _stored(files: EncodedImages, size: int) -> StoredImages | None:
    """Decoded images; None where there are none, or their file is not the one that was written.

    They are mapped, so that any number of processes share one copy in memory.
    """
    path, header = _stored_path(files, size), _header(files, size)
    end = len(header) + _bytes(files, size)
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            found = os.fstat(file.fileno())
            whole = found.st_size == end + _trailer_bytes(files)
            if not whole or file.read(len(header)) != header:
                return None
            file.seek(end)
            checksums, seal = file.read(4 * len(files)), file.read()
            if seal != _seal(header, checksums):
                return None
            # Mode "c" never writes to the file, yet gives the writable array PyTorch insists on.
            pixels = np.memmap(file, np.uint8, "c", len(header), _shape(files, size))
    except OSError:
        return None
    return StoredImages(pixels, np.frombuffer(checksums, "<u4"), path, found.st_ino)


def _decode_all(pending: Sequence[EncodedImages], size: int, progress: Progress) -> None:
    store.remove_left_behind()
    _check_space(sum(_bytes(files, size) for files in pending))
    failures: list[Failure] = []
    done, total = 0, sum(len(files) for files in pending)
    for files in pending:

        def report(number: int, before: int = done) -> None:
            progress(before + number, total)

        failures += _decode_split(files, size, report)
        done += len(files)
    if failures:
        raise unreadable(failures, total)


def _decode_split(files: EncodedImages, size: int, report: Callable[[int], None]) -> list[Failure]:
    """Stores the decoded images of one split; returns the failures, and stores none if any."""
    failures: list[Failure] = []
    checksums = np.zeros(len(files), "<u4")
    header = _header(files, size)
    try:
        with replacing(_stored_path(files, size)) as file:
            file.write(header)
            for row, image in enumerate(_decoded(files, size, report)):
                if isinstance(image, Failure):
                    failures.append(image)
                elif not failures:
                    file.write(image.data)
                    checksums[row] = zlib.crc32(image.data)
            if failures:
                raise _Unreadable
            file.write(checksums.tobytes() + _seal(header, checksums.tobytes()))
    except _Unreadable:
        pass
    except OSError as error:
        raise store.cannot_write(error) from error
    return failures


def _decoded(
    files: EncodedImages, size: int, report: Callable[[int], None]
) -> Iterator[Pixels | Failure]:
    def one(row: int) -> Pixels | Failure:
        return attempt(files.file(row), size, files.name(row))

    with ThreadPoolExecutor(threads(files.typical_bytes)) as pool:
        for start in range(0, len(files), BATCH):
            end = min(start + BATCH, len(files))
            yield from pool.map(one, range(start, end))
            report(end)


def _header(files: EncodedImages, size: int) -> bytes:
    header = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": _shape(files, size)}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _seal(header: bytes, checksums: bytes) -> bytes:
    return hashlib.sha256(header + checksums).digest()


def _trailer_bytes(files: EncodedImages) -> int:
    return 4 * len(files) + hashlib.sha256().digest_size


def _stored_path(files: EncodedImages, size: int) -> Path:
    kind = f"decode {DECODE_VERSION}, {size} pixels".encode()
    return store.cache_folder() / f"{digest(kind, files.version.encode())}.npy"


def _shape(files: EncodedImages, size: int) -> tuple[int, int, int, int]:
    return (len(files), 3, size, size)


def _bytes(files: EncodedImages, size: int) -> int:
    return len(files) * 3 * size * size


def _check_space(needed: int) -> None:
    folder = store.cache_folder()
    free = free_space(folder)
    if free < needed + SPARE_BYTES:
        raise DataError(
            f"The decoded images take {_gib(needed)}, and {folder} has {_gib(free)} free.",
            "export LTKD_CACHE_DIR=/a/folder/with/space, or choose a smaller --image-size",
        )


def _gib(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"


def _silent(done: int, total: int) -> None:
    pass
