"""Which row of a file of outputs is which training image."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.files import Listing, name_some
from ..errors import DataError, DataMismatch, look_at
from ..files import read_regular

MAX_BYTES = 2**31
"""Of a file that names images; 10 million long paths have less."""

Rows = NDArray[np.int64]

ByPath = dict[tuple[str, ...], list[int]]


def read_names(path: Path) -> list[str]:
    """The paths or names of images in a file, one on each line; DataError where that cannot be."""
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8", "surrogateescape")
        text = text.removeprefix("\ufeff")  # which some editors put before the first line
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", look_at(path)) from error
    names = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
    if blank := [number for number, name in enumerate(names, 1) if not name.strip()]:
        raise DataError(
            f"Line {blank[0]} of {path} is empty, and names no image.",
            "one path or name of an image on each line",
        )
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise DataError(
            f"{path} names an image twice: {name_some(twice)}.", "name every image once"
        )
    return names


def rows_of(images: Listing, names: Sequence[str], path: Path) -> Rows:
    """For every image, the row of its name in `names`, read from the file `path`, int64 [N].

    A name is that of an image where its whole path ends in the name, folder by folder, or else
    where the name ends in its path below the folder of the set; of several such names the one
    that shares most folders above it, so that `old/train/x.jpg` is an image in a folder `train`
    and `old/test/x.jpg` is not. DataMismatch where an image has no name, or more than one, or two
    images have the same.
    """
    parts = [_parts(name) for name in names]
    by_path = _by(parts)
    by_end: dict[int, ByPath] = {}
    found, lacking = [], []
    above = _parts(os.path.abspath(images.root))  # noqa: PTH100 - names need not be paths
    for key in images.keys:
        own = _parts(key)
        whole = (*above, *own)
        rows = sorted(row for start in range(len(whole)) for row in by_path.get(whole[start:], ()))
        if not rows:
            length = len(own)
            if length not in by_end:
                by_end[length] = _by([each[-length:] for each in parts])
            rows = _longest(by_end[length].get(own, []), parts, whole)
        if len(rows) > 1:
            raise DataMismatch(
                f"{path} has several lines that may be {key}: "
                f"{name_some([names[row] for row in rows])}.",
                "give the paths of the images with their folders",
            )
        found += rows
        lacking += [] if rows else [key]
    if lacking:
        raise DataMismatch(
            f"{path} does not name {len(lacking):,} of {len(images.keys):,} training images: "
            f"{name_some(lacking)}.",
            "give outputs for every training image",
        )
    row, number = Counter(found).most_common(1)[0]
    if number > 1:
        raise DataMismatch(
            f"{names[row]} in {path} may be any of {number} training images.",
            "give the paths of the images with their folders",
        )
    return np.array(found, np.int64)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", ".")) or ("",)


def _longest(
    rows: Sequence[int], parts: Sequence[tuple[str, ...]], whole: tuple[str, ...]
) -> list[int]:
    """Those of the rows whose path has the longest end in common with the whole path."""
    shared = [_shared(parts[row], whole) for row in rows]
    return [row for row, length in zip(rows, shared, strict=True) if length == max(shared)]


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _by(paths: Sequence[tuple[str, ...]]) -> ByPath:
    """The rows of every path."""
    rows: ByPath = defaultdict(list)
    for row, path in enumerate(paths):
        rows[path].append(row)
    return rows
