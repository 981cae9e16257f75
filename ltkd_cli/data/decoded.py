"""Decoded images in the cache folder, so that only the first start has to read image files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import DataError
from ..events import ImagesKept
from ..files import free_space, in_bytes, replacing
from . import store
from .contents import Progress as Progress  # where commands look for it
from .decode import Pixels, attempt, quietly, threads
from .decodedfile import DecodedFile
from .failures import Failure, unreadable
from .imageset import Images

STORES = ("auto", "always", "never")
"""Whether decoded images are kept: where they fit, in any case, or not."""

AUTO, ALWAYS, NEVER = STORES

STORED_LIMIT = 64 * 10**9
"""Bytes up to which `auto` stores the images of a set; above, files are decoded when needed."""

SPARE_BYTES = 2**28
"""Space that decoding leaves free on the disk."""

BATCH = 256
"""Images decoded between two writes and two reports of progress."""


class _Unreadable(Exception):
    """Some images of a split cannot be decoded, so nothing of it is stored."""


def open_images(
    name: str, splits: Sequence[DecodedFile], choice: str, progress: Progress | None = None
) -> tuple[list[Images], ImagesKept]:
    """The images of each split of the set of that name, decoded first where they are to be stored.

    `choice` is one of STORES. DataError that names every image of every split that cannot be
    read, or says that the disk has no room.
    """
    found = [None if choice == NEVER else split.open() for split in splits]
    pending = [split for split, images in zip(splits, found, strict=True) if images is None]
    kept = _choose(name, splits, pending, choice)
    if not kept.stored:
        return [split.on_demand() for split in splits], kept
    if pending:
        with quietly():
            _decode_all(pending, progress or _silent)
    return [images or _open(split) for split, images in zip(splits, found, strict=True)], kept


def _choose(
    name: str, splits: Sequence[DecodedFile], pending: Sequence[DecodedFile], choice: str
) -> ImagesKept:
    """Whether the images are stored, and why."""
    size = sum(split.estimate() for split in splits)
    missing = sum(split.estimate() for split in pending)
    folder = store.cache_folder()
    free = free_space(folder)
    if choice != AUTO:
        stored, why = choice == ALWAYS, "asked"
    elif not pending:
        stored, why = True, "there"
    elif size > STORED_LIMIT:
        stored, why = False, "limit"
    else:
        stored = missing <= min(free // 2, free - SPARE_BYTES)
        why = "fits" if stored else "room"
    photographs = [split for split in splits if not split.uniform]
    return ImagesKept(
        image_set=name,
        images=sum(len(split.files) for split in splits),
        stored=stored,
        size=size,
        exact=not photographs,
        short_side=photographs[0].short if photographs else None,
        why=why,
        limit=STORED_LIMIT,
        free=free,
        folder=str(folder),
    )


def _open(split: DecodedFile) -> Images:
    images = split.open()
    if images is None:
        raise DataError(
            f"The decoded images in {split.path} have disappeared.", "run the same command again"
        )
    return images


def _decode_all(pending: Sequence[DecodedFile], progress: Progress) -> None:
    store.remove_left_behind()
    _check_space(sum(split.estimate() for split in pending))
    failures: list[Failure] = []
    done, total = 0, sum(len(split.files) for split in pending)
    for split in pending:

        def report(number: int, before: int = done) -> None:
            progress(before + number, total)

        failures += _decode_split(split, report)
        done += len(split.files)
    if failures:
        raise unreadable(failures, total)


def _decode_split(split: DecodedFile, report: Callable[[int], None]) -> list[Failure]:
    """Stores the decoded images of one split; returns the failures, and stores none if any."""
    failures: list[Failure] = []
    sides: list[tuple[int, int]] = []
    checksums: list[int] = []
    try:
        with replacing(split.path) as file:
            file.write(split.header())
            for image in _decoded(split, report):
                if isinstance(image, Failure):
                    failures.append(image)
                elif not failures:
                    file.write(image.data)
                    sides.append((image.shape[1], image.shape[2]))
                    checksums.append(zlib.crc32(image.data))
            if failures:
                raise _Unreadable
            file.write(split.trailer(sides, checksums))
    except _Unreadable:
        pass
    except OSError as error:
        raise store.cannot_write(error) from error
    return failures


def _decoded(split: DecodedFile, report: Callable[[int], None]) -> Iterator[Pixels | Failure]:
    files = split.files

    def one(row: int) -> Pixels | Failure:
        image = attempt(files.file(row), split.short, files.name(row))
        if not isinstance(image, Failure):
            files.check_unchanged(row)
        return image

    with ThreadPoolExecutor(threads(files.typical_bytes)) as pool:
        for start in range(0, len(files), BATCH):
            end = min(start + BATCH, len(files))
            yield from pool.map(one, range(start, end))
            report(end)


def _check_space(needed: int) -> None:
    folder = store.cache_folder()
    free = free_space(folder)
    if free < needed + SPARE_BYTES:
        raise DataError(
            f"The decoded images take {in_bytes(needed)}, and {folder} has {in_bytes(free)} free.",
            "export LTKD_CACHE_DIR=/a/folder/with/space, choose a smaller --image-size, or decode "
            "files when they are needed: --store never",
        )


def _silent(done: int, total: int) -> None:
    pass
