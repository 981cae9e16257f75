"""Decoded images in the cache folder, so that only the first start has to read image files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from ..errors import DataError
from . import store
from .decode import DECODE_VERSION, Failure, Pixels, attempt, quietly, threads
from .files import ImageFiles, name_some
from .images import FileImages, ResidentImages
from .imageset import Images, digest

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far and the number to decode."""

STORED_LIMIT = 16 * 2**30
"""Bytes up to which decoded images are stored; above, files are decoded when asked for."""

SPARE_BYTES = 2**28
"""Space that decoding leaves free on the disk."""

BATCH = 256
"""Images decoded between two writes and two reports of progress."""


def open_images(
    splits: Sequence[ImageFiles], size: int, progress: Progress | None = None
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


def _open(files: ImageFiles, size: int) -> Images:
    if _bytes(files, size) > STORED_LIMIT:
        return FileImages(files, size)
    pixels = _stored(files, size)
    if pixels is None:
        raise DataError(
            f"The decoded images in {_stored_path(files, size)} have disappeared.",
            "run the same command again",
        )
    return ResidentImages(torch.from_numpy(pixels))


def _stored(files: ImageFiles, size: int) -> Pixels | None:
    """Decoded images [N, 3, size, size]; None where there are none, or others.

    They are mapped, so that any number of processes share one copy in memory.
    """
    try:
        # Mode "c" never writes to the file, yet gives PyTorch the writable array it insists on.
        pixels: Pixels = np.load(_stored_path(files, size), mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # not there, or not the file that was written: decode again
    return pixels if pixels.dtype == np.uint8 and pixels.shape == _shape(files, size) else None


def _decode_all(pending: Sequence[ImageFiles], size: int, progress: Progress) -> None:
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
        raise _unreadable(failures, pending)


def _decode_split(files: ImageFiles, size: int, report: Callable[[int], None]) -> list[Failure]:
    """Stores the decoded images of one split; returns the failures, and stores none if any."""
    failures: list[Failure] = []

    def fill(partial: Path) -> bool:
        with partial.open("wb") as file:
            _write_header(file, _shape(files, size))
            for image in _decoded(files, size, report):
                if isinstance(image, Failure):
                    failures.append(image)
                elif not failures:
                    file.write(image.data)
            file.flush()
            os.fsync(file.fileno())  # before it gets its name, or a power cut could leave zeros
        return not failures

    try:
        store.write_whole(_stored_path(files, size), fill)
    except OSError as error:
        raise store.cannot_write(error) from error
    return failures


def _decoded(
    files: ImageFiles, size: int, report: Callable[[int], None]
) -> Iterator[Pixels | Failure]:
    with ThreadPoolExecutor(threads(files.typical_bytes())) as pool:
        for start in range(0, len(files), BATCH):
            paths = files.paths[start : start + BATCH]
            yield from pool.map(attempt, paths, [size] * len(paths))
            report(start + len(paths))


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _stored_path(files: ImageFiles, size: int) -> Path:
    kind = f"decode {DECODE_VERSION}, {size} pixels".encode()
    return store.cache_folder() / f"{digest(kind, files.version.encode())}.npy"


def _shape(files: ImageFiles, size: int) -> tuple[int, int, int, int]:
    return (len(files), 3, size, size)


def _bytes(files: ImageFiles, size: int) -> int:
    return len(files) * 3 * size * size


def _check_space(needed: int) -> None:
    folder = store.cache_folder()
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DataError(
            f"The decoded images take {_gib(needed)}, and {folder} has {_gib(free)} free.",
            "export LTKD_CACHE_DIR=/a/folder/with/space, or choose a smaller --image-size",
        )


def _gib(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"


def _unreadable(failures: list[Failure], pending: Sequence[ImageFiles]) -> DataError:
    total = sum(len(files) for files in pending)
    report = store.cache_folder() / f"unreadable-{digest(repr(failures).encode())[:12]}.txt"
    store.write_text(report, "".join(f"{f.path}\t{f.reason}\n" for f in failures))
    names = name_some([failure.path for failure in failures])
    return DataError(
        f"{len(failures):,} of {total:,} images cannot be read: {names}.",
        f"replace or remove these files; all of them, with the reasons, are in {report}",
    )


def _silent(done: int, total: int) -> None:
    pass
