"""Tiny-ImageNet's test images: val/images/val_0.JPEG, with their classes in val_annotations.txt.

Its training images are class folders with a level `images`, which are read as any other folder;
its folder `test` has no labels.

Source: Le and Yang, "Tiny ImageNet Visual Recognition Challenge", CS 231N, 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, look_at, shortened
from .lists import read_lines
from .splits import check_known


def is_annotated(folder: Path) -> bool:
    """Whether a folder has its images in `images` and their classes in a file."""
    return _annotations(folder).is_file() and (folder / "images").is_dir()


def annotated(
    folder: Path, class_names: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Keys and labels of the annotated images, in the order of the file.

    Each line is FILE, CLASS and the four sides of a box, parted by tabs. DataError that names
    the line where one is not, DataMismatch where a class is unknown.
    """
    path = _annotations(folder)
    rows = [_row(line, f"{path}:{number}") for number, line in read_lines(path)]
    if not rows:
        raise DataError(f"{path} names no images.", look_at(path))
    names = {name for _, name in rows}
    check_known(str(path), names, class_names, str(folder.parent / "train"))
    index = {name: label for label, name in enumerate(class_names)}
    keys = tuple(f"images/{file}" for file, _ in rows)
    return keys, np.array([index[name] for _, name in rows], dtype=np.int64)


def _row(line: str, place: str) -> tuple[str, str]:
    fields = line.split("\t")
    if len(fields) < 2 or not all(fields[:2]):
        raise DataError(
            f"{place} is no file name and class, parted by a tab: {shortened(line)!r}.",
            "each line is: FILE CLASS X Y WIDTH HEIGHT",
        )
    return fields[0].strip(), fields[1].strip()


def _annotations(folder: Path) -> Path:
    return folder / f"{folder.name}_annotations.txt"
