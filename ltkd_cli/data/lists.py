"""Text lists of images, one `path label` a line, as ImageNet-LT and Places-LT publish them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, DataMismatch
from .decoded import Progress
from .filedata import data_of_listings
from .files import Listing, name_some
from .imageset import Data, DataSpec

TEST_WORDS = ("test", "val")
"""What takes the place of `train` in the name of the test list, in order of preference."""

LARGEST_LABEL = 1_000_000
"""A larger class number is a slip: every class up to it needs images."""

Entries = tuple[tuple[str, ...], NDArray[np.int64]]
"""Keys and labels of the images in a list."""


def load_lists(spec: DataSpec, progress: Progress | None = None) -> Data:
    """The data of a train list and its test list; classes are named by their numbers.

    DataError where a list or an image is missing or a line cannot be read, DataMismatch
    where the test list has classes that the train list has not.
    """
    train_list = Path(spec.data).expanduser()
    test_list = Path(spec.test_list).expanduser() if spec.test_list else _test_list(train_list)
    root = Path(spec.root).expanduser() if spec.root else train_list.parent
    train, test = read_list(train_list), read_list(test_list)
    class_names = _class_names(train[1], train_list)
    _check_known(test[1], len(class_names), test_list, train_list)
    name = _set_name(train_list)
    return data_of_listings(
        replace(spec, root=str(root), test_list=str(test_list)),
        Listing(name, "train", str(root), *train, class_names),
        Listing(name, _split_name(test_list), str(root), *test, class_names),
        progress,
    )


def read_list(path: Path) -> Entries:
    """Keys and labels of a list; DataError with file and line where it does not fit."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list {path} cannot be read: {error}.", f"ls -l {path}") from error
    entries = [
        _entry(line, f"{path}:{number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not entries:
        raise DataError(f"The list {path} names no images.", "each line is: PATH LABEL")
    keys, labels = zip(*entries, strict=True)
    return keys, np.array(labels, dtype=np.int64)


def _entry(line: str, place: str) -> tuple[str, int]:
    key, label = [*line.rsplit(maxsplit=1), ""][:2]
    if not (label.isascii() and label.isdigit()):
        raise DataError(
            f"{place} is not an image path followed by a class number: {line.strip()!r}.",
            "each line is: PATH LABEL, with labels from 0",
        )
    if int(label) > LARGEST_LABEL:
        raise DataError(
            f"{place} has class number {label}; they go up to {LARGEST_LABEL:,}.",
            "number the classes from 0 without gaps",
        )
    return key.strip(), int(label)


def _class_names(labels: NDArray[np.int64], train_list: Path) -> tuple[str, ...]:
    counts = np.bincount(labels)
    absent = [str(label) for label in np.where(counts == 0)[0]]
    if absent:
        raise DataError(
            f"{train_list} has no image of class {name_some(absent)}, and its largest class "
            f"is {len(counts) - 1}.",
            "number the classes from 0 without gaps",
        )
    if len(counts) < 2:
        raise DataError(f"{train_list} has one class only.", "list images of two classes or more")
    return tuple(str(label) for label in range(len(counts)))


def _check_known(labels: NDArray[np.int64], classes: int, test: Path, train: Path) -> None:
    unknown = [str(label) for label in np.unique(labels) if label >= classes]
    if unknown:
        raise DataMismatch(
            f"{test} has classes that {train} has not: {name_some(unknown)}.",
            "--test-list with the list that belongs to this train list",
        )


def _test_list(train_list: Path) -> Path:
    """The list beside the train list whose name says test, or else val."""
    tried = [train_list.with_name(train_list.name.replace("train", word)) for word in TEST_WORDS]
    found = [path for path in tried if path != train_list and path.is_file()]
    if found:
        return found[0]
    if not train_list.is_file():
        raise DataError(f"There is no list {train_list}.", "--data PATH/TO/train.txt")
    names = " or ".join(path.name for path in tried if path != train_list)
    raise DataError(
        f"No test list {names} lies beside {train_list}."
        if names
        else f"The name of {train_list} does not say train, so its test list is unknown.",
        "--test-list PATH/TO/test.txt",
    )


def _split_name(test_list: Path) -> str:
    return "val" if "val" in test_list.stem and "test" not in test_list.stem else "test"


def _set_name(train_list: Path) -> str:
    """`ImageNet_LT` for ImageNet_LT_train.txt; the folder's name for train.txt."""
    left = train_list.stem.replace("train", "").strip(" ._-")
    return left or train_list.resolve().parent.name
